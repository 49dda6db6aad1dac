package channelsredis

import (
	"context"
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
	c.own.mu.Lock()
	for n := range count { // without having each read
		c.own.used[fmt.Sprintf("asgi%d.%s!", n, c.process.Name())] = c.now()
	}
	c.own.mu.Unlock()
	for n := range 3 {
		key := fmt.Sprintf("asgi%d.%s!", n*count/3, c.process.Name())
		require.NoError(t, client.ZAdd(t.Context(), key, redis.Z{Score: 1, Member: "x"}).Err())
	}
	require.NoError(t, c.Close())
	require.Empty(t, client.Keys(t.Context(), "*").Val())
	require.Equal(t, uint64(3), c.Stats().Dropped[layer.DropClosed])
}

// A prefix that has no channel any more is forgotten, after as long as a message
// may wait, and known again when it is used again.
func TestCoreForgetsPrefixes(t *testing.T) {
	server := redistest.Start(t, redistest.Config{})
	ctx := t.Context()
	c, err := OpenCore(ctx, []string{server.URL()}, Options{Expiry: time.Minute})
	require.NoError(t, err)
	defer c.Close()
	other, err := OpenCore(ctx, []string{server.URL()}, Options{})
	require.NoError(t, err)
	defer other.Close()
	kept, err := c.NewChannel(ctx, "kept")
	require.NoError(t, err)
	released, err := c.NewChannel(ctx, "released")
	require.NoError(t, err)
	count := func() int {
		keys, _ := c.ownKeys()
		return len(keys)
	}
	require.Equal(t, 2, count())
	require.NoError(t, c.Release(ctx, released))
	grace := int64(time.Minute + queueGrace)
	c.sweepOwn(c.now() + grace/2)
	require.Equal(t, 2, count(), "somebody may still send there")
	c.sweepOwn(c.now() + grace + int64(time.Second))
	require.Equal(t, 1, count(), "nobody has a channel there")

	again, err := c.NewChannel(ctx, "released")
	require.NoError(t, err)
	for _, channel := range []string{kept, again} {
		require.NoError(t, other.Send(ctx, channel, layer.NewMessage(map[string]any{"type": "x"})))
		receiving, cancel := context.WithTimeout(ctx, 10*time.Second)
		_, err := c.Receive(receiving, channel)
		cancel()
		require.NoError(t, err, channel)
	}
}

// Memberships of other channels that began here are remembered up to a bound,
// and those that have ended make room.
func TestCoreForeignMembershipsAreBounded(t *testing.T) {
	client := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1"})
	defer client.Close()
	c, err := NewCore(Options{Hosts: []redis.UniversalClient{client}})
	require.NoError(t, err)
	defer c.Close()
	for range maxOthers {
		c.remember("g", "jobs.0") // renewed, it is one still
	}
	for n := range maxOthers + 1000 {
		c.remember("g", fmt.Sprint("jobs.", n))
	}
	known := func() int {
		_, n := c.others.groups.Count()
		return n
	}
	require.Equal(t, maxOthers, known())
	began := func() any {
		for _, at := range c.others.groups.MembersWith("g") {
			return at // of the first
		}
		return nil
	}
	was := began()
	c.remember("g", "jobs.0")
	require.Equal(t, maxOthers, known(), "with one renewed when there is no room")
	require.NotEqual(t, was, began(), "when it began")
	c.forget("g", "jobs.0")
	c.forget("g", "jobs.0") // is not there
	c.remember("g", "one more")
	c.remember("g", "one too many")
	require.Equal(t, maxOthers, known())
	c.others.sweep()
	c.remember("g", "one too many") // still
	require.Equal(t, maxOthers, known())
	own, err := c.NewChannel(t.Context(), "")
	require.NoError(t, err)
	c.remember("g", own)
	require.Equal(t, 1, c.added.Len("g"), "channels of this process have no such bound")
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
