package redislayer_test

import (
	"bytes"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/channellayer/channellayer/internal/redistest"
	"github.com/channellayer/channellayer/redislayer"
)

// logged is a log that can be looked at while it is written.
type logged struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logged) has(text string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Contains(l.buf.String(), text)
}

func TestCloseLeavesGroupsThatWereRefusedLately(t *testing.T) {
	server := redistest.Start(t, redistest.Config{})
	client := redis.NewClient(&redis.Options{Addr: server.Addr()})
	defer client.Close()
	var log logged
	l := open(t, server.URL(), redislayer.Options{
		Timeout: 500 * time.Millisecond,
		Lease:   3 * time.Second,
		Logger:  slog.New(slog.NewTextHandler(&log, nil)),
	})
	channel, err := l.NewChannel(t.Context(), "")
	require.NoError(t, err)
	require.NoError(t, l.GroupAdd(t.Context(), "room", channel))

	require.NoError(t, client.ConfigSet(t.Context(), "maxmemory", "1").Err())
	soon(t, "a heartbeat that is refused to write the group", func() bool { return log.has("refused to write groups") })
	require.NoError(t, client.ConfigSet(t.Context(), "maxmemory", "0").Err())
	require.NoError(t, l.Close())
	keys, err := client.Keys(t.Context(), "*").Result()
	require.NoError(t, err)
	require.Empty(t, keys, "keys after Close")
}
