package channelsredis_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/channellayer/channellayer/internal/faultproxy"
	"github.com/channellayer/channellayer/internal/redistest"
	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/redislayer/channelsredis"
)

// What this process sends to its own channels does not go through Redis. It must
// not overtake what it sent to a group before, of which nobody knows yet whether
// Redis will publish it.
func TestPubSubLateGroupSend(t *testing.T) {
	server := redistest.Start(t, redistest.Config{})
	ctx := t.Context()
	l := openPubSub(t, []string{server.URL()}, channelsredis.Options{Timeout: 300 * time.Millisecond})
	for round := range 3 {
		own := newOwn(t, l)
		require.NoError(t, l.GroupAdd(ctx, "room", own))
		server.Pause()
		require.ErrorIs(t, l.GroupSend(ctx, "room", note(1)), layer.ErrMaybeSent)
		if err := l.Send(ctx, own, note(2)); err != nil {
			require.ErrorIs(t, err, layer.ErrNotSent)
			require.ErrorIs(t, err, layer.ErrUnavailable)
		}
		server.Resume()
		soon(t, "a send", func() bool { return l.Send(ctx, own, note(3)) == nil })
		soon(t, "a group send", func() bool { return l.GroupSend(ctx, "room", note(4)) == nil })
		last := int64(0)
		for last != 4 {
			n := next(t, l, own).Int("n")
			require.Greater(t, n, last, "round %d: %d came after %d", round, n, last)
			last = n
		}
		require.NoError(t, l.Send(ctx, own, note(5)), "the doubt is over")
		require.NoError(t, l.Release(ctx, own))
	}
}

// The same where Redis published it, and this process has not read it yet.
func TestPubSubEchoBehind(t *testing.T) {
	server := redistest.Start(t, redistest.Config{})
	proxy := faultproxy.New(t, server.Addr())
	ctx := t.Context()
	l := openPubSub(t, []string{"redis://" + proxy.Addr()}, channelsredis.Options{Timeout: 300 * time.Millisecond})
	own := newOwn(t, l)
	require.NoError(t, l.GroupAdd(ctx, "room", own))
	lost := proxy.DropReplies(1, faultproxy.Containing("PUBLISH"))
	proxy.Delay(faultproxy.ToClient, 40*time.Millisecond, 0)
	err := l.GroupSend(ctx, "room", note(1))
	<-lost
	require.ErrorIs(t, err, layer.ErrMaybeSent)
	for l.Send(ctx, own, note(2)) != nil {
	}
	require.EqualValues(t, 1, next(t, l, own).Int("n"))
	require.EqualValues(t, 2, next(t, l, own).Int("n"))
}

// While Redis is gone for good, and after, what was in doubt holds nothing up for
// longer than it takes to see that.
func TestPubSubDoubtEnds(t *testing.T) {
	server := redistest.Start(t, redistest.Config{})
	ctx := t.Context()
	l := openPubSub(t, []string{server.URL()}, channelsredis.Options{Timeout: 300 * time.Millisecond})
	own := newOwn(t, l)
	require.NoError(t, l.GroupAdd(ctx, "room", own))
	for {
		server.Pause()
		err := l.GroupSend(ctx, "room", note(1))
		if errors.Is(err, layer.ErrMaybeSent) {
			break
		}
		require.ErrorIs(t, err, layer.ErrNotSent) // it waited behind a probe
		server.Resume()
		soon(t, "a connection", func() bool { return l.Ping(ctx) == nil })
	}
	server.Kill()
	soon(t, "a send without Redis", func() bool { return l.Send(ctx, own, note(2)) == nil })
	require.EqualValues(t, 2, next(t, l, own).Int("n"))
	server.Restart(t)
	soon(t, "a connection", func() bool { return l.Ping(ctx) == nil })
	require.NoError(t, l.GroupSend(ctx, "room", note(3)))
	require.NoError(t, l.Send(ctx, own, note(4)))
	require.EqualValues(t, 3, next(t, l, own).Int("n"))
	require.EqualValues(t, 4, next(t, l, own).Int("n"))
}

// No call takes much longer than the timeout, also where it waits behind one
// that takes as long.
func TestPubSubCallsEndInTime(t *testing.T) {
	server := redistest.Start(t, redistest.Config{})
	ctx := t.Context()
	const timeout = 500 * time.Millisecond
	l := openPubSub(t, []string{server.URL()}, channelsredis.Options{Timeout: timeout})
	own := newOwn(t, l)
	require.NoError(t, l.GroupAdd(ctx, "room", own))
	server.Pause()
	defer server.Resume()
	first := make(chan error, 1)
	go func() { first <- l.GroupSend(ctx, "other", note(1)) }()
	time.Sleep(timeout / 2) // it is under way
	begun := time.Now()
	err := l.GroupSend(ctx, "room", note(2))
	took := time.Since(begun)
	require.ErrorIs(t, err, layer.ErrUnavailable)
	require.False(t, errors.Is(err, context.DeadlineExceeded), "the caller has no deadline: %v", err)
	require.Less(t, took, timeout+timeout/2)
	require.ErrorIs(t, <-first, layer.ErrMaybeSent)
}
