package redislayer_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/channellayer/channellayer/internal/redistest"
	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/redislayer"
)

func open(tb testing.TB, url string, options redislayer.Options) *redislayer.Layer {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	l, err := redislayer.Open(ctx, url, options)
	require.NoError(tb, err)
	tb.Cleanup(func() { require.NoError(tb, l.Close()) })
	return l
}

func text(s string) layer.Message {
	return layer.NewMessage(map[string]any{"type": "test", "text": s})
}

func receive(tb testing.TB, l layer.Layer, channel string) layer.Message {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	msg, err := l.Receive(ctx, channel)
	require.NoError(tb, err)
	return msg
}

func TestTwoProcesses(t *testing.T) {
	server := redistest.Start(t, redistest.Config{})
	a, b := open(t, server.URL(), redislayer.Options{}), open(t, server.URL(), redislayer.Options{})
	ctx := t.Context()

	channel, err := b.NewChannel(ctx, "")
	require.NoError(t, err)
	for i := range 10 {
		require.NoError(t, a.Send(ctx, channel, text(fmt.Sprint(i))))
	}
	for i := range 10 {
		require.Equal(t, fmt.Sprint(i), receive(t, b, channel).String("text"))
	}

	require.NoError(t, b.GroupAdd(ctx, "room", channel))
	require.NoError(t, a.GroupSend(ctx, "room", text("hello")))
	require.Equal(t, "hello", receive(t, b, channel).String("text"))

	other, err := a.NewChannel(ctx, "")
	require.NoError(t, err)
	require.NoError(t, b.GroupAdd(ctx, "room", other))
	require.NoError(t, a.GroupSend(ctx, "room", text("both")))
	require.Equal(t, "both", receive(t, a, other).String("text"))
	require.Equal(t, "both", receive(t, b, channel).String("text"))

	require.NoError(t, a.Send(ctx, "jobs", text("job 1")))
	require.Equal(t, "job 1", receive(t, b, "jobs").String("text"))
	require.NoError(t, b.Close())
	require.ErrorIs(t, a.Send(ctx, channel, text("gone")), layer.ErrChannelGone)
	require.NoError(t, a.Close())

	client := redis.NewClient(&redis.Options{Addr: server.Addr()})
	defer client.Close()
	keys, err := client.Keys(ctx, "*").Result()
	require.NoError(t, err)
	require.Empty(t, keys)
}
