package channelsredis_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/channellayer/channellayer/internal/redistest"
	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/redislayer/channelsredis"
)

// A server that is busy with somebody's script refuses everything for a while.
// Nothing is lost by that, and no connection.
func TestPubSubBusyServer(t *testing.T) {
	server := redistest.Start(t, redistest.Config{})
	ctx := t.Context()
	client := server.Client(t)
	require.NoError(t, client.ConfigSet(ctx, "busy-reply-threshold", "50").Err())
	var gaps gapLog
	l := openPubSub(t, []string{server.URL()}, channelsredis.Options{Timeout: 400 * time.Millisecond, Observer: gaps.observer()})
	own := newOwn(t, l)
	require.NoError(t, l.GroupAdd(ctx, "room", own))
	script := make(chan error, 1)
	go func() { // for longer than two probes are apart
		script <- client.Eval(ctx, busyScript, nil, 3000).Err()
	}()
	soon(t, "the server to be busy", func() bool {
		err := l.GroupSend(ctx, "room", note(1))
		if err == nil {
			require.EqualValues(t, 1, next(t, l, own).Int("n"))
		}
		return errors.Is(err, layer.ErrNotSent)
	})
	<-script
	soon(t, "a group send", func() bool { return l.GroupSend(ctx, "room", note(2)) == nil })
	require.EqualValues(t, 2, next(t, l, own).Int("n"))
	require.Zero(t, gaps.count(), "gaps, though no connection was lost")
}

// A subscription that a busy server refused is asked for again, without the
// application.
func TestPubSubRefusedSubscription(t *testing.T) {
	server := redistest.Start(t, redistest.Config{})
	ctx := t.Context()
	client := server.Client(t)
	require.NoError(t, client.ConfigSet(ctx, "busy-reply-threshold", "50").Err())
	var gaps gapLog
	l := openPubSub(t, []string{server.URL()}, channelsredis.Options{Observer: gaps.observer()})
	other := openPubSub(t, []string{server.URL()}, channelsredis.Options{})
	own := newOwn(t, l)
	script := make(chan error, 1)
	go func() { script <- client.Eval(ctx, busyScript, nil, 1500).Err() }()
	soon(t, "the server to be busy", func() bool { return errors.Is(other.GroupSend(ctx, "room", note(0)), layer.ErrNotSent) })
	err := l.GroupAdd(ctx, "room", own)
	require.ErrorIs(t, err, layer.ErrUnavailable)
	require.ErrorContains(t, err, "BUSY")
	require.NoError(t, <-script)
	soon(t, "the member to be reached", func() bool {
		require.NoError(t, other.GroupSend(ctx, "room", note(1)))
		return received(t, l, own)
	})
	require.Zero(t, gaps.count(), "gaps: who added was told, and no connection was lost")
}

// received takes a message if there is one.
func received(t *testing.T, l layer.Layer, channel string) bool {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	_, err := l.Receive(ctx, channel)
	return err == nil
}

// busyScript keeps the server busy for as many milliseconds as it is told.
const busyScript = `
	local function now() local t = redis.call('TIME') return t[1] * 1000 + t[2] / 1000 end
	local ends = now() + ARGV[1]
	while now() < ends do end
	return 1`
