package redislayer_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/channellayer/channellayer/internal/faultproxy"
	"github.com/channellayer/channellayer/internal/redistest"
	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/redislayer"
)

// holds checks that the gap that is reported holds a moment.
func holds(t *testing.T, gaps <-chan gap, at time.Time, what string) gap {
	t.Helper()
	g := <-gaps
	t.Logf("gap from %v before %s to %v after: %s", at.Sub(g.from), what, g.to.Sub(at), g.reason)
	require.True(t, g.from.Before(at) && g.to.After(at), "the gap holds %s", what)
	return g
}

// What waited on a normal channel when the server was lost is in the gap of who
// receives there, however long it had waited; what was received before is not.
func TestGapHoldsWhatWaited(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, redistest.Config{})
	gaps := make(chan gap, 10)
	l := open(t, server.URL(), redislayer.Options{Timeout: time.Second, Lease: 4 * time.Second, Observer: observeGaps(gaps)})
	ctx := t.Context()
	require.NoError(t, l.Send(ctx, "jobs", text("long received")))
	time.Sleep(100 * time.Millisecond) // so that it is certainly older than before
	before := time.Now()
	time.Sleep(600 * time.Millisecond) // half of the timeout is for what time it is at the server
	require.NoError(t, l.Send(ctx, "jobs", text("received")))
	require.NoError(t, l.Send(ctx, "jobs", text("waits")))
	waits := time.Now()
	for _, want := range []string{"long received", "received"} {
		require.Equal(t, want, receive(t, l, "jobs").String("text"))
	}
	time.Sleep(3 * time.Second) // and two heartbeats: the inbox was there, and read, long after it was sent
	server.RestartEmpty(t)
	require.True(t, holds(t, gaps, waits, "the message that waits").from.After(before))
}

// What was given back, because its receivers went away while it was on its way,
// waits again.
func TestGapHoldsWhatWasGivenBack(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, redistest.Config{})
	proxy := faultproxy.New(t, server.Addr())
	gaps := make(chan gap, 10)
	options := redislayer.Options{Timeout: time.Second, Lease: 4 * time.Second, Prefix: "bus"}
	sound := open(t, server.URL(), options)
	options.Observer = observeGaps(gaps)
	l := open(t, "redis://"+proxy.Addr(), options)
	ctx := t.Context()
	some, cancel := context.WithCancel(ctx)
	ended := make(chan error, 2)
	for range cap(ended) {
		go func() { _, err := l.Receive(some, "jobs"); ended <- err }()
	}
	client := server.Client(t)
	soon(t, "both receivers to wait", func() bool {
		keys := client.Keys(ctx, "bus:waiting:*").Val()
		return len(keys) == 1 && client.LLen(ctx, keys[0]).Val() == 2
	})
	proxy.Delay(faultproxy.ToClient, 900*time.Millisecond, 0)
	require.NoError(t, sound.Send(ctx, "jobs", text("given back")))
	sent := time.Now()
	time.Sleep(700 * time.Millisecond) // more than half of the timeout, so that the second message is no bound for the first
	require.NoError(t, sound.Send(ctx, "jobs", text("given back, too")))
	cancel()
	for range cap(ended) {
		require.ErrorIs(t, <-ended, context.Canceled)
	}
	soon(t, "the messages to be given back", func() bool {
		keys := client.Keys(ctx, "bus:queue:*").Val()
		return len(keys) == 1 && client.ZCard(ctx, keys[0]).Val() == 2
	})
	proxy.Heal()
	time.Sleep(3 * time.Second) // heartbeats, as above
	require.NoError(t, layer.Ping(ctx, l))
	server.RestartEmpty(t)
	holds(t, gaps, sent, "the first message that was given back")
}
