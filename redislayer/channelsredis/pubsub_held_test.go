package channelsredis_test

import (
	"bytes"
	"net"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/channellayer/channellayer/internal/redistest"
	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/redislayer/channelsredis"
)

// A worker comes and is gone again before it has got what was held for it: that
// stays the oldest.
func TestPubSubHeldMessageGoesBack(t *testing.T) {
	server := redistest.Start(t, redistest.Config{})
	ctx := t.Context()
	var lies, answers atomic.Int64 // replies to NUMSUB that tell of a subscriber, and all
	addr := proxy(t, server.Addr(), forward, func(server, client net.Conn) {
		defer client.Close()
		b := make([]byte, 64<<10)
		for {
			n, err := server.Read(b)
			if err != nil {
				return
			}
			reply := b[:n]
			if none := []byte("late\r\n:0\r\n"); bytes.Contains(reply, none) {
				if lies.Add(-1) >= 0 {
					reply = bytes.Replace(reply, none, []byte("late\r\n:1\r\n"), 1)
				}
				answers.Add(1)
			}
			if _, err := client.Write(reply); err != nil {
				return
			}
		}
	})
	a := openPubSub(t, []string{"redis://" + addr}, channelsredis.Options{Capacity: 3})
	b := openPubSub(t, []string{server.URL()}, channelsredis.Options{})
	for n := range 3 {
		require.NoError(t, a.Send(ctx, "late", note(n)))
	}
	before := answers.Load()
	lies.Store(1)
	soon(t, "a round after the lie", func() bool { return answers.Load() >= before+3 })
	require.ErrorIs(t, a.Send(ctx, "late", note(3)), layer.ErrChannelFull)
	for n := range 3 {
		require.EqualValues(t, n, next(t, b, "late").Int("n"))
	}
	require.Zero(t, a.Stats().Dropped.Total())
}

// What no other process could read is refused, also where the message would be
// held.
func TestPubSubHeldIsChecked(t *testing.T) {
	server := redistest.Start(t, redistest.Config{})
	ctx := t.Context()
	a := openPubSub(t, []string{server.URL()}, channelsredis.Options{SerializerFormat: channelsredis.JSON{}})
	for range 2 {
		require.NoError(t, a.Send(ctx, "late", note(1)))
		bad := layer.NewMessage(map[string]any{"type": "test.note", "b": []byte("x")})
		require.ErrorIs(t, a.Send(ctx, "late", bad), layer.ErrInvalidMessage)
	}
}
