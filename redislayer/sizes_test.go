package redislayer_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/channellayer/channellayer/internal/redistest"
	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/redislayer"
)

// The sizes in OPERATIONS.md, with room for other versions of Redis.
func TestSizesAtRedis(t *testing.T) {
	server := redistest.Start(t, redistest.Config{})
	ctx := t.Context()
	client := server.Client(t)
	key := func(name string) string { return redislayer.DefaultPrefix + ":" + name }
	size := func(key string) int64 {
		n, err := client.MemoryUsage(ctx, key, 0).Result()
		require.NoError(t, err)
		return n
	}
	check := func(what string, got int64, most int64) {
		t.Helper()
		t.Logf("%s: %d bytes", what, got)
		require.LessOrEqual(t, got, most, what)
	}
	l := open(t, server.URL(), redislayer.Options{Limits: layer.Limits{Capacity: 2000}})
	channel := newChannel(t, l)
	inbox := inboxOf(channel)
	check("a process", size(inbox)+size(strings.Replace(inbox, ":inbox:", ":lease:", 1)), 2000)

	require.NoError(t, l.GroupAdd(ctx, "room", channel))
	check("a group in one process", size(key("group:room")), 250)
	for n := range 999 {
		member := fmt.Sprintf("pABCDEFGHIJKLMNOPQ%03d/1", n)
		require.NoError(t, client.ZAdd(ctx, key("group:room"), redis.Z{Member: member}).Err())
	}
	check("each of 1000 processes in a group", size(key("group:room"))/1000, 150)
	require.NoError(t, client.Del(ctx, key("group:room")).Err())

	msg := layer.NewMessage(map[string]any{"type": "chat.message", "text": strings.Repeat("x", 147)})
	require.Equal(t, 173, msg.Size())
	o := newOutsider(t, server, "ABCDEFGHIJKLMNOPQRST")
	empty := size(o.key("inbox"))
	for range 1000 {
		require.NoError(t, l.Send(ctx, o.channel(), msg))
	}
	check("a message of 173 bytes in an entry of its own", (size(o.key("inbox"))-empty)/1000, 320)

	o = newOutsider(t, server, "ABCDEFGHIJKLMNOPQRSU")
	var sending sync.WaitGroup
	for range 500 {
		sending.Go(func() {
			for range 20 {
				if err := l.Send(ctx, o.channel(), msg); err != nil {
					t.Error(err)
				}
			}
		})
	}
	sending.Wait()
	check("a message of 173 bytes, sent with 500 others", (size(o.key("inbox"))-empty)/10000, 260)

	for range 1000 {
		require.NoError(t, l.Send(ctx, "jobs", msg))
	}
	check("a message of 173 bytes in the queue of a normal channel", size(key("queue:jobs"))/1000, 400)
}
