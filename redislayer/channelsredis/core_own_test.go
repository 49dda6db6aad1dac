package channelsredis

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/channellayer/channellayer/internal/redistest"
	"github.com/channellayer/channellayer/layer"
)

// Close removes the queues of a process that gave many prefixes to NewChannel.
func TestCoreManyPrefixes(t *testing.T) {
	server := redistest.Start(t, redistest.Config{})
	client := server.Client(t)
	c, err := OpenCore(t.Context(), []string{server.URL()}, Options{})
	require.NoError(t, err)
	const count = 20_000
	c.mu.Lock()
	for n := range count { // without having each read
		c.own[fmt.Sprintf("asgi%d.%s!", n, c.client)] = struct{}{}
	}
	c.mu.Unlock()
	for n := range 3 {
		key := fmt.Sprintf("asgi%d.%s!", n*count/3, c.client)
		require.NoError(t, client.ZAdd(t.Context(), key, redis.Z{Score: 1, Member: "x"}).Err())
	}
	require.NoError(t, c.Close())
	require.Empty(t, client.Keys(t.Context(), "*").Val())
	require.Equal(t, uint64(3), c.Stats().Dropped[layer.DropClosed])
}

// What is far too large is not even decoded.
func TestCoreTooLargeToDecode(t *testing.T) {
	server := redistest.Start(t, redistest.Config{})
	client := server.Client(t)
	var decoded atomic.Int64
	format := byJSON
	format.Unmarshal = func(b []byte) (map[string]any, error) {
		decoded.Add(1)
		return byJSON.Unmarshal(b)
	}
	c, err := OpenCore(t.Context(), []string{server.URL()}, Options{MaxMessageSize: 1000, SerializerFormat: format})
	require.NoError(t, err)
	defer c.Close()
	now := float64(time.Now().UnixMicro()) / 1e6
	huge := `0123456789ab{"type": "` + strings.Repeat("x", 10*1000+addressRoom) + `"}`
	require.NoError(t, client.ZAdd(t.Context(), "asgijobs", redis.Z{Score: now, Member: huge}, redis.Z{Score: now + 0.1, Member: `0123456789ab{"type": "small"}`}).Err())
	msg, err := c.Receive(t.Context(), "jobs")
	require.NoError(t, err)
	require.Equal(t, "small", msg.Type())
	require.Equal(t, int64(1), decoded.Load(), "how many were decoded")
	require.Equal(t, uint64(1), c.Stats().Dropped[layer.DropOversized])
}
