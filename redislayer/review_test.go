package redislayer_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/channellayer/channellayer/internal/faultproxy"
	"github.com/channellayer/channellayer/internal/redistest"
	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/redislayer"
)

// gap is what an observer was told.
type gap struct {
	from, to time.Time
	reason   string
}

func observeGaps(gaps chan<- gap) layer.Observer {
	return layer.Observer{Gap: func(from, to time.Time, reason string) { gaps <- gap{from, to, reason} }}
}

// soon is for conditions that hold within moments unless something is wrong.
func soon(tb testing.TB, what string, condition func() bool) {
	tb.Helper()
	require.Eventually(tb, condition, 10*time.Second, 5*time.Millisecond, what)
}

// Rule 2: a heartbeat tells Redis how many receivers wait while messages are on
// their way to them.
func TestNormalChannelKeepsOrderThroughHeartbeats(t *testing.T) {
	server := redistest.Start(t, redistest.Config{})
	a, b := open(t, server.URL(), redislayer.Options{}), open(t, server.URL(), redislayer.Options{})
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()

	const messages = 3000
	var running sync.WaitGroup
	done := make(chan struct{})
	running.Go(func() {
		for i := range messages {
			for {
				err := a.Send(ctx, "jobs", text(fmt.Sprint(i)))
				if err == layer.ErrChannelFull {
					time.Sleep(time.Millisecond)
					continue
				}
				if !assert.NoError(t, err) {
					cancel()
				}
				break
			}
		}
	})
	running.Go(func() {
		for {
			select {
			case <-done:
				return
			case <-time.After(100 * time.Microsecond):
				b.TellAll()
			}
		}
	})
	for i := range messages {
		msg, err := b.Receive(ctx, "jobs")
		if !assert.NoError(t, err, "message %d of %d", i, messages) ||
			!assert.Equal(t, fmt.Sprint(i), msg.String("text"), "sent in order of their numbers") {
			cancel()
			break
		}
	}
	close(done)
	running.Wait()
}

// Rule 7: the group's entry is being removed for the last member when another
// joins.
func TestGroupAddWhileLastMemberLeaves(t *testing.T) {
	server := redistest.Start(t, redistest.Config{})
	proxy := faultproxy.New(t, server.Addr())
	a, b := open(t, server.URL(), redislayer.Options{}), open(t, "redis://"+proxy.Addr(), redislayer.Options{})
	ctx := t.Context()
	leaves, joins := ownChannel(t, b), ownChannel(t, b)
	for i := range 10 {
		proxy.Heal()
		require.NoError(t, b.GroupAdd(ctx, "room", leaves))
		proxy.Delay(faultproxy.Both, 20*time.Millisecond, 0)
		var running sync.WaitGroup
		running.Go(func() { assert.NoError(t, b.GroupDiscard(ctx, "room", leaves)) })
		time.Sleep(time.Duration(i) * 5 * time.Millisecond)
		require.NoError(t, b.GroupAdd(ctx, "room", joins))
		running.Wait()
		require.NoError(t, a.GroupSend(ctx, "room", text("hello")))
		require.Equal(t, "hello", receive(t, b, joins).String("text"))
		proxy.Heal()
		require.NoError(t, b.GroupDiscard(ctx, "room", joins))
	}
}

// Rule 12: the connection breaks between making the inbox and registering the
// groups.
func TestGapIsReportedAfterInterruptedRegistration(t *testing.T) {
	server := redistest.Start(t, redistest.Config{})
	proxy := faultproxy.New(t, server.Addr())
	gaps := make(chan gap, 100)
	a := open(t, server.URL(), redislayer.Options{})
	b := open(t, "redis://"+proxy.Addr(), redislayer.Options{
		Timeout: 500 * time.Millisecond, Lease: 2 * time.Second, Observer: observeGaps(gaps)})
	ctx := t.Context()
	channel := ownChannel(t, b)
	require.NoError(t, b.GroupAdd(ctx, "room", channel))

	struck := proxy.DropRequests(1, faultproxy.Containing("zadd"))
	require.NoError(t, server.Client(t).Del(ctx, "channellayer:inbox:"+b.Process(), "channellayer:lease:"+b.Process()).Err())
	<-struck
	select {
	case <-gaps:
	case <-time.After(10 * time.Second):
		t.Fatal("the inbox was lost and no gap was reported")
	}
	require.NoError(t, a.GroupSend(ctx, "room", text("after the gap")))
	require.Equal(t, "after the gap", receive(t, b, channel).String("text"))
}

// Rule 12: a gap begins before the first message that may be lost, also where
// the reader had fallen behind.
func TestGapBeginsWhereReaderWas(t *testing.T) {
	server := redistest.Start(t, redistest.Config{})
	proxy := faultproxy.New(t, server.Addr())
	gaps := make(chan gap, 100)
	a := open(t, server.URL(), redislayer.Options{})
	b := open(t, "redis://"+proxy.Addr(), redislayer.Options{Observer: observeGaps(gaps)})
	ctx := t.Context()
	channel := ownChannel(t, b)
	require.NoError(t, a.Send(ctx, channel, text("first")))
	receive(t, b, channel)
	soon(t, "the reader is reading", func() bool { return proxy.Deafen(faultproxy.Containing("XREAD")) > 0 })

	sent := time.Now()
	require.NoError(t, a.Send(ctx, channel, text("lost")))
	require.NoError(t, b.Ping(ctx), "the session goes on")
	server.Kill()
	server.Restart(t)
	select {
	case g := <-gaps:
		require.False(t, g.from.After(sent), "a message sent at %v was lost; the gap is from %v to %v", sent, g.from, g.to)
	case <-time.After(20 * time.Second):
		t.Fatal("Redis was restarted empty and no gap was reported")
	}
}

// Rule 1 and 12: a call that makes the inbox, run late, must not empty the one
// that was made since.
func TestLateLeaseCallDoesNothing(t *testing.T) {
	server := redistest.Start(t, redistest.Config{})
	a := open(t, server.URL(), redislayer.Options{})
	client, ctx := server.Client(t), t.Context()
	keys := []string{"channellayer:inbox:" + a.Process(), "channellayer:lease:" + a.Process()}
	run := func(held, next string) []any {
		reply, err := client.Eval(ctx, redislayer.LeaseScript, keys, held, next, 30000, 0, 0, 0, 0).Slice()
		require.NoError(t, err)
		return reply
	}
	require.Equal(t, int64(1), run("4", "9")[0], "the inbox of incarnation 4 is gone: 9 is made")
	require.NoError(t, client.XAdd(ctx, &redis.XAddArgs{Stream: keys[0], Values: []any{"e", "x"}}).Err())
	require.Equal(t, int64(0), run("4", "8")[0], "8 was tried before 9, and comes late")
	require.Equal(t, int64(1), client.XLen(ctx, keys[0]).Val(), "entries in the inbox after a late call")
	last := client.XInfoStream(ctx, keys[0]).Val().LastGeneratedID
	require.Equal(t, int64(1), run("8", "10")[0])
	again := client.XInfoStream(ctx, keys[0]).Val().LastGeneratedID
	require.Greater(t, again, last, "ids of an inbox made anew are above those of the one before")
}

// Rule 5: the bound is for what is unread, and what is counted twice or lost
// does not fill an inbox for ever.
func TestSmallInboxTakesManySenders(t *testing.T) {
	server := redistest.Start(t, redistest.Config{})
	a := open(t, server.URL(), redislayer.Options{InboxCapacity: 10})
	b := open(t, server.URL(), redislayer.Options{InboxCapacity: 10, Limits: layer.Limits{Capacity: 1000}})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	channel := ownChannel(t, b)
	var running sync.WaitGroup
	var sent atomic.Int64
	for range 64 {
		running.Go(func() {
			for ctx.Err() == nil {
				err := a.Send(ctx, channel, text("x"))
				if err == nil {
					sent.Add(1)
					return
				}
				if !assert.ErrorIs(t, err, layer.ErrInboxFull) {
					return
				}
			}
		})
	}
	running.Wait()
	require.Equal(t, int64(64), sent.Load(), "of 64 concurrent senders to an inbox of 10 that is read, those that got through")
}

func TestInboxCountHeals(t *testing.T) {
	server := redistest.Start(t, redistest.Config{})
	a := open(t, server.URL(), redislayer.Options{InboxCapacity: 10})
	b := open(t, server.URL(), redislayer.Options{InboxCapacity: 10, Timeout: 500 * time.Millisecond, Lease: 2 * time.Second})
	ctx := t.Context()
	channel := ownChannel(t, b)
	require.NoError(t, server.Client(t).HIncrBy(ctx, "channellayer:lease:"+b.Process(), "n", 100).Err())
	require.ErrorIs(t, a.Send(ctx, channel, text("x")), layer.ErrInboxFull)
	soon(t, "an empty inbox that was counted wrong takes messages", func() bool { return a.Send(ctx, channel, text("x")) == nil })
}

// A Redis whose memory is full refuses groups, and nothing else breaks.
func TestFullMemoryDoesNotBreakTheConnection(t *testing.T) {
	server := redistest.Start(t, redistest.Config{})
	proxy := faultproxy.New(t, server.Addr())
	a := open(t, "redis://"+proxy.Addr(), redislayer.Options{})
	client, ctx := server.Client(t), t.Context()
	require.NoError(t, client.ConfigSet(ctx, "maxmemory", "1").Err())
	before := proxy.Stats().Accepted
	channel := ownChannel(t, a)
	for range 5 {
		require.ErrorIs(t, a.GroupAdd(ctx, "room", channel), layer.ErrUnavailable)
		require.NoError(t, a.Ping(ctx))
	}
	require.LessOrEqual(t, proxy.Stats().Accepted, before+1, "connections made (the reader's own may be late)")
	require.NoError(t, client.ConfigSet(ctx, "maxmemory", "0").Err())
	require.NoError(t, a.GroupAdd(ctx, "room", channel))
}

// A reader that Redis refuses does not ask again without pause.
func TestRefusedReaderDoesNotSpin(t *testing.T) {
	server := redistest.Start(t, redistest.Config{Users: []string{"bus on >secret ~* &* +@all"}})
	open(t, "redis://bus:secret@"+server.Addr(), redislayer.Options{})
	client, ctx := server.Client(t), t.Context()
	require.NoError(t, client.Do(ctx, "ACL", "SETUSER", "bus", "-xread").Err())
	refused := func() (n int) {
		text := client.Info(ctx, "commandstats").Val()
		for line := range strings.Lines(text) {
			var calls, usec, failed int
			var per float64
			if k, _ := fmt.Sscanf(line, "cmdstat_xread:calls=%d,usec=%d,usec_per_call=%f,rejected_calls=%d,failed_calls=%d", &calls, &usec, &per, &n, &failed); k == 5 {
				return n
			}
		}
		return 0
	}
	soon(t, "the reader is refused", func() bool { return refused() > 1 })
	first, begun := refused(), time.Now()
	soon(t, "it tries again", func() bool { return refused() > first+2 })
	rate := float64(refused()-first) / time.Since(begun).Seconds()
	require.Less(t, rate, 100.0, "refused reads a second")
}

// Rule 11: Close is bounded by the timeout when Redis answers no more.
func TestCloseWhileRedisIsSilent(t *testing.T) {
	server := redistest.Start(t, redistest.Config{})
	proxy := faultproxy.New(t, server.Addr())
	a := open(t, "redis://"+proxy.Addr(), redislayer.Options{Timeout: 2 * time.Second})
	proxy.BlackHole(faultproxy.Both)
	var running sync.WaitGroup
	for range 8 {
		running.Go(func() {
			err := a.Send(t.Context(), "jobs", text("x"))
			assert.Error(t, err)
		})
	}
	time.Sleep(1500 * time.Millisecond) // so that another attempt begins while Close waits
	begun := time.Now()
	require.NoError(t, a.Close())
	require.Less(t, time.Since(begun), 2900*time.Millisecond, "Close with a timeout of 2 s")
	running.Wait()
}

// Rule 12: a message of a normal channel that was on its way to a process which
// closes goes to another.
func TestCloseGivesBack(t *testing.T) {
	server := redistest.Start(t, redistest.Config{})
	proxy := faultproxy.New(t, server.Addr())
	a, b := open(t, server.URL(), redislayer.Options{}), open(t, "redis://"+proxy.Addr(), redislayer.Options{})
	client, ctx := server.Client(t), t.Context()
	var running sync.WaitGroup
	running.Go(func() {
		_, err := b.Receive(ctx, "jobs")
		assert.ErrorIs(t, err, layer.ErrClosed)
	})
	soon(t, "the receiver is known", func() bool { return client.LLen(ctx, "channellayer:waiting:jobs").Val() == 1 })
	soon(t, "the reader is reading", func() bool { return proxy.Deafen(faultproxy.Containing("XREAD")) > 0 })
	require.NoError(t, a.Send(ctx, "jobs", text("job")))
	require.Zero(t, client.ZCard(ctx, "channellayer:queue:jobs").Val(), "the message is on its way")
	require.NoError(t, b.Close())
	running.Wait()
	require.Equal(t, "job", receive(t, a, "jobs").String("text"))
}

// Flush leaves receivers waiting, and nothing from before it.
func TestFlushKeepsReceiversWaiting(t *testing.T) {
	server := redistest.Start(t, redistest.Config{})
	a, b := open(t, server.URL(), redislayer.Options{}), open(t, server.URL(), redislayer.Options{})
	client, ctx := server.Client(t), t.Context()
	for i := range 20 {
		got := make(chan string, 1)
		go func() {
			msg, _ := b.Receive(ctx, "jobs")
			got <- msg.String("text")
		}()
		soon(t, "the receiver is known", func() bool { return client.LLen(ctx, "channellayer:waiting:jobs").Val() == 1 })
		channel := ownChannel(t, b)
		require.NoError(t, a.Send(ctx, channel, text("before")))
		require.NoError(t, b.Flush(ctx))
		require.NoError(t, a.Send(ctx, "jobs", text(fmt.Sprint(i))))
		select {
		case text := <-got:
			require.Equal(t, fmt.Sprint(i), text)
		case <-time.After(5 * time.Second):
			t.Fatal("a receiver that waited before Flush gets nothing after it")
		}
		require.NoError(t, a.Send(ctx, channel, text("after")))
		require.Equal(t, "after", receive(t, b, channel).String("text"))
	}
}

func ownChannel(tb testing.TB, l layer.Layer) string {
	tb.Helper()
	channel, err := l.NewChannel(tb.Context(), "")
	require.NoError(tb, err)
	return channel
}
