package redislayer_test

import (
	"bytes"
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/channellayer/channellayer/internal/faultproxy"
	"github.com/channellayer/channellayer/internal/redistest"
	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/redislayer"
)

// A caller that makes its round trip itself, and leaves in the middle of it,
// leaves the connection as it should be.
func TestCallerLeavesItsRoundTrip(t *testing.T) {
	server := redistest.Start(t, redistest.Config{})
	proxy := faultproxy.New(t, server.Addr())
	a, b := open(t, "redis://"+proxy.Addr(), redislayer.Options{}), open(t, server.URL(), redislayer.Options{})
	ctx := t.Context()
	channel := ownChannel(t, b)
	require.NoError(t, a.Send(ctx, channel, text("first")))
	require.Equal(t, "first", receive(t, b, channel).String("text"))
	accepted := proxy.Stats().Accepted
	for range 5 {
		proxy.BlackHole(faultproxy.ToClient)
		short, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
		err := a.Send(short, channel, text("left"))
		cancel()
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorIs(t, err, layer.ErrMaybeSent, "Redis has it, and its reply is on its way")
		proxy.Heal()
		require.NoError(t, a.Send(ctx, channel, text("next")))
		require.Equal(t, "left", receive(t, b, channel).String("text"))
		require.Equal(t, "next", receive(t, b, channel).String("text"))
	}
	require.Equal(t, accepted, proxy.Stats().Accepted, "connections made")
}

// What others ask for while a caller finds the connection broken is done on the
// next one.
func TestCallerFindsTheConnectionBroken(t *testing.T) {
	server := redistest.Start(t, redistest.Config{})
	proxy := faultproxy.New(t, server.Addr())
	a, b := open(t, "redis://"+proxy.Addr(), redislayer.Options{}), open(t, server.URL(), redislayer.Options{})
	ctx := t.Context()
	channel := ownChannel(t, b)
	began := time.Now()
	for range 10 {
		soon(t, "a round trip", func() bool { return a.Ping(ctx) == nil })
		struck := proxy.DropReplies(1, func(request []byte) bool {
			return bytes.Contains(request, []byte(":inbox:")) && bytes.Contains(request, []byte("EVALSHA"))
		})
		require.ErrorIs(t, a.Send(ctx, channel, text("x")), layer.ErrMaybeSent)
		<-struck
		_ = a.Ping(ctx) // comes while the connection is made anew
	}
	require.Less(t, time.Since(began), 2*redislayer.DefaultTimeout, "10 broken connections, none of which takes a timeout")
	for range 10 {
		require.Equal(t, "x", receive(t, b, channel).String("text"))
	}
}
