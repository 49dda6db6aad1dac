package channelsredis_test

import (
	"context"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/channellayer/channellayer/internal/faultproxy"
	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/redislayer/channelsredis"
)

// What waits is in the gap although what was received last was old.
func TestCoreGapHoldsABacklog(t *testing.T) {
	t.Parallel()
	f := newFaulty(t, func(o *channelsredis.Options) { o.Expiry = 3 * time.Second })
	ctx := t.Context()
	require.NoError(t, f.sound.Send(ctx, "jobs", say("received")))
	time.Sleep(2 * time.Second) // of its 3
	require.NoError(t, f.sound.Send(ctx, "jobs", say("waits")))
	waits := time.Now()
	require.Equal(t, []string{"received"}, texts(t, f.faulty, "jobs", 1))
	time.Sleep(1500 * time.Millisecond)           // what was received would have expired, what waits has not
	require.NoError(t, layer.Ping(ctx, f.faulty)) // it knows that the server was there later
	f.server.RestartEmpty(t)
	f.covered(t, waits, "the message that waits, 1.5 s old of 3")
}

// What was given back to its queue waits again. Its receivers went away while it
// was on its way, and the pop that took it had begun after it was sent.
func TestCoreGapHoldsWhatWasGivenBack(t *testing.T) {
	t.Parallel()
	f := newFaulty(t, nil)
	ctx := t.Context()
	some, cancel := context.WithCancel(ctx)
	ended := make(chan error, 3)
	for range cap(ended) {
		go func() { _, err := f.faulty.Receive(some, "jobs"); ended <- err }()
	}
	time.Sleep(500 * time.Millisecond) // all three are asked for together
	f.proxy.Delay(faultproxy.ToClient, 500*time.Millisecond, 0)
	time.Sleep(3 * time.Second) // the pop that began before the delay ends, and one with it
	blocked := func() bool { return f.server.Info(t, "clients")["blocked_clients"] != "0" }
	soon(t, "a pop to wait", blocked)
	for blocked() { // its reply, which is empty, is on its way now
	}
	require.NoError(t, f.sound.Send(ctx, "jobs", say("given back")))
	sent := time.Now()
	waiting := func() int64 { return f.client.ZCard(ctx, "asgijobs").Val() }
	require.EqualValues(t, 1, waiting())
	soon(t, "the message to be taken", func() bool { return waiting() == 0 })
	cancel()
	for range cap(ended) {
		require.ErrorIs(t, <-ended, context.Canceled)
	}
	soon(t, "the message to be given back", func() bool { return waiting() == 1 })
	f.proxy.Heal()
	f.settled(t)
	time.Sleep(2 * time.Second) // the gap would begin after the message if it began with the last answer
	require.NoError(t, layer.Ping(ctx, f.faulty))
	f.server.RestartEmpty(t)
	f.covered(t, sent, "the message that was given back")
}

// A message may stand behind one that was sent later, as one of Python with a
// clock that is not a second behind.
func TestCoreGapWithScoresAhead(t *testing.T) {
	t.Parallel()
	f := newFaulty(t, nil)
	ctx := t.Context()
	at := float64(time.Now().Add(700*time.Millisecond).UnixMicro()) / 1e6
	require.NoError(t, f.sound.Send(ctx, "jobs", say("ahead")))
	member := f.client.ZRange(ctx, "asgijobs", 0, 0).Val()[0]
	require.NoError(t, f.client.ZAdd(ctx, "asgijobs", redis.Z{Score: at, Member: member}).Err())
	require.NoError(t, f.sound.Send(ctx, "jobs", say("waits")))
	waits := time.Now()
	time.Sleep(400 * time.Millisecond) // the score stays ahead of the time at which it is received
	require.Equal(t, []string{"ahead"}, texts(t, f.faulty, "jobs", 1))
	later()
	require.NoError(t, layer.Ping(ctx, f.faulty))
	f.server.RestartEmpty(t)
	f.covered(t, waits, "the message that waits")
}

// A queue that is quiet beside a busy one is known to be empty all the same.
func TestCoreGapOfAQuietQueue(t *testing.T) {
	t.Parallel()
	f := newFaulty(t, func(o *channelsredis.Options) { o.Capacity = 10_000 })
	ctx := t.Context()
	busy, err := f.faulty.NewChannel(ctx, "busy")
	require.NoError(t, err)
	_, err = f.faulty.NewChannel(ctx, "quiet")
	require.NoError(t, err)
	fill := func() {
		for range 40 {
			require.NoError(t, f.sound.Send(ctx, busy, say("one of many")))
			time.Sleep(50 * time.Millisecond) // busier than an empty queue is asked for
		}
	}
	fill()
	before := time.Now()
	fill()
	require.Equal(t, 1, f.proxy.Cut(faultproxy.Containing("asgibusy"), true))
	g := f.gap(t)
	require.True(t, g.from.After(before), "both queues were read all the time: gap of %v", g.to.Sub(g.from))
}

// The reader cannot connect for longer than Expiry (maxclients, say); the writer
// needs not. What waits for the reader meanwhile is in the gap.
func TestCoreGapWhereTheReaderIsAway(t *testing.T) {
	t.Parallel()
	f := newFaulty(t, func(o *channelsredis.Options) { o.Expiry = 2 * time.Second })
	ctx := t.Context()
	own := newOwn(t, f.faulty)
	time.Sleep(1500 * time.Millisecond) // its reader waits, and has found the queue empty once
	f.proxy.Refuse()
	require.Equal(t, 1, f.proxy.Cut(faultproxy.Containing("asgispecific."), true))
	time.Sleep(3 * time.Second) // longer than Expiry
	require.NoError(t, f.sound.Send(ctx, own, say("waits")))
	waits := time.Now()
	later()
	require.NoError(t, f.faulty.Send(ctx, "jobs", say("the server was there later")))
	f.server.RestartEmpty(t)
	f.proxy.Heal()
	f.covered(t, waits, "the message that waits")
}

// A reader that is faster than the writer does not know what time it is at the
// server.
func TestCoreGapWithoutAClock(t *testing.T) {
	t.Parallel()
	f := newFaulty(t, nil)
	ctx := t.Context()
	require.NoError(t, f.sound.Send(ctx, "jobs", say("received")))
	require.NoError(t, f.sound.Send(ctx, "jobs", say("waits")))
	waits := time.Now()
	time.Sleep(500 * time.Millisecond) // so that when the pop begins is later than that by far
	client := redis.NewClient(&redis.Options{Addr: f.proxy.Addr()})
	defer client.Close()
	struck := f.proxy.DropRequests(3, faultproxy.Containing("time"))
	c, err := channelsredis.NewCore(channelsredis.Options{
		Hosts: []redis.UniversalClient{client}, AllowUntyped: true,
		Observer: layer.Observer{Gap: func(from, to time.Time, reason string) { f.gaps <- gap{from, to, reason} }},
	})
	require.NoError(t, err)
	defer func() { require.NoError(t, c.Close()) }()
	require.Equal(t, []string{"received"}, texts(t, c, "jobs", 1))
	<-struck
	soon(t, "it to connect", func() bool { return c.Ping(ctx) == nil })
	later()
	f.faulty.Close() // which has gaps, too
	f.server.RestartEmpty(t)
	f.covered(t, waits, "the message that waits")
}
