package channelsredis_test

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/channellayer/channellayer/internal/faultproxy"
	"github.com/channellayer/channellayer/internal/redistest"
	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/redislayer/channelsredis"
)

type gap struct {
	from, to time.Time
	reason   string
}

// faulty is a bus with one Core behind a proxy, and one that is not.
type faulty struct {
	server *redistest.Server
	proxy  *faultproxy.Proxy
	client *redis.Client
	faulty *channelsredis.Core
	sound  *channelsredis.Core
	gaps   chan gap // of the faulty one
}

func newFaulty(t *testing.T, change func(*channelsredis.Options)) *faulty {
	return newFaultyOn(t, redistest.Config{}, change)
}

func newFaultyOn(t *testing.T, config redistest.Config, change func(*channelsredis.Options)) *faulty {
	f := &faulty{server: redistest.Start(t, config), gaps: make(chan gap, 100)}
	f.proxy = faultproxy.New(t, f.server.Addr())
	f.client = f.server.Client(t)
	open := func(addr string, observer layer.Observer) *channelsredis.Core {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		o := channelsredis.Options{AllowUntyped: true, Timeout: time.Second, Observer: observer}
		if change != nil {
			change(&o)
		}
		c, err := channelsredis.OpenCore(ctx, []string{"redis://" + addr}, o)
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, c.Close()) })
		return c
	}
	f.faulty = open(f.proxy.Addr(), layer.Observer{Gap: func(from, to time.Time, reason string) { f.gaps <- gap{from, to, reason} }})
	f.sound = open(f.server.Addr(), layer.Observer{})
	return f
}

// settled waits until the faulty layer works again.
func (f *faulty) settled(t *testing.T) {
	t.Helper()
	soon(t, "the layer to recover", func() bool { return f.faulty.Ping(t.Context()) == nil })
}

func (f *faulty) gap(t *testing.T) gap {
	t.Helper()
	select {
	case g := <-f.gaps:
		return g
	case <-time.After(patience):
		require.Fail(t, "no gap was reported")
		return gap{}
	}
}

func say(s string) layer.Message { return layer.NewMessage(map[string]any{"type": "say", "text": s}) }

// texts receives n messages.
func texts(t *testing.T, l layer.Layer, channel string, n int) (got []string) {
	t.Helper()
	for range n {
		got = append(got, next(t, l, channel).String("text"))
	}
	return got
}

// A send whose reply is lost has an unknown outcome, and is not repeated.
func TestCoreReplyLost(t *testing.T) {
	f := newFaulty(t, nil)
	ctx := t.Context()
	theirs := newOwn(t, f.sound)
	require.NoError(t, f.sound.GroupAdd(ctx, "g", theirs))
	for what, send := range map[string]func(layer.Message) error{
		"Send":      func(m layer.Message) error { return f.faulty.Send(ctx, theirs, m) },
		"GroupSend": func(m layer.Message) error { return f.faulty.GroupSend(ctx, "g", m) },
	} {
		f.settled(t)
		struck := f.proxy.DropReplies(1, faultproxy.Containing("unlucky"))
		err := send(say("unlucky"))
		require.ErrorIs(t, err, layer.ErrMaybeSent, what)
		<-struck
		f.settled(t)
		require.NoError(t, send(say("after")), what)
		require.Equal(t, []string{"unlucky", "after"}, texts(t, f.sound, theirs, 2), what)
	}
	silent(t, f.sound, theirs)
}

// A send that never came to the server is not run later, and one that did come
// does not overtake what was sent after it.
func TestCoreStalledSend(t *testing.T) {
	f := newFaulty(t, nil)
	theirs := newOwn(t, f.sound)
	for round := range 3 {
		f.settled(t)
		f.server.Pause()
		err := f.faulty.Send(t.Context(), theirs, say(fmt.Sprint("stalled ", round)))
		require.ErrorIs(t, err, layer.ErrMaybeSent)
		require.ErrorIs(t, err, layer.ErrUnavailable)
		f.server.Resume()
		f.settled(t)
		require.NoError(t, f.faulty.Send(t.Context(), theirs, say(fmt.Sprint("next ", round))))
		var got []string
		for len(got) == 0 || !strings.HasPrefix(got[len(got)-1], "next") {
			got = append(got, texts(t, f.sound, theirs, 1)...)
		}
		silent(t, f.sound, theirs) // nothing comes behind it
		require.LessOrEqual(t, len(got), 2)
	}
}

// A reader that is connected but hears nothing is found. What it popped is lost,
// and reported; what comes then arrives; nothing comes twice.
func TestCoreDeafReader(t *testing.T) {
	f := newFaulty(t, nil)
	ctx := t.Context()
	own := newOwn(t, f.faulty)
	for key, channel := range map[string]string{"specific.": own, "jobs": "jobs"} {
		received := make(chan string, 10)
		receiving, cancel := context.WithCancel(ctx)
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			for msg, err := range layer.Messages(receiving, f.faulty, channel) {
				if err == nil {
					received <- msg.String("text")
				}
			}
		}()
		require.NoError(t, f.sound.Send(ctx, channel, say("before")))
		require.Equal(t, "before", <-received)
		soon(t, "a reader to be deaf", func() bool {
			return 0 < f.proxy.Deafen(func(request []byte) bool {
				return bytes.Contains(request, []byte("BZMPOP")) && bytes.Contains(request, []byte("asgi"+key))
			})
		})
		require.NoError(t, f.sound.Send(ctx, channel, say("lost")))
		g := f.gap(t)
		require.Contains(t, g.reason, "connection that read", key)
		require.Less(t, g.to.Sub(g.from), 5*time.Second)
		require.NoError(t, f.sound.Send(ctx, channel, say("after")))
		got := <-received
		if got == "lost" { // it was not popped yet
			got = <-received
		}
		require.Equal(t, "after", got, key)
		cancel()
		<-ended
		require.Empty(t, received)
	}
	require.Empty(t, f.gaps)
}

// After an outage everything works again by itself, and what an empty server
// lost is reported and restored.
func TestCoreRestartedEmpty(t *testing.T) {
	f := newFaulty(t, nil)
	ctx := t.Context()
	own, theirs := newOwn(t, f.faulty), newOwn(t, f.sound)
	require.NoError(t, f.faulty.GroupAdd(ctx, "g", own))
	require.NoError(t, f.faulty.GroupAdd(ctx, "g", "jobs"))
	require.NoError(t, f.sound.GroupAdd(ctx, "g", theirs))
	require.NoError(t, f.faulty.GroupAdd(ctx, "left", own))
	require.NoError(t, f.faulty.GroupDiscard(ctx, "left", own))
	job := make(chan string, 1)
	go func() {
		msg, _ := f.faulty.Receive(ctx, "jobs")
		job <- msg.String("text")
	}()
	f.server.Kill()
	soon(t, "the layer to notice", func() bool { return f.faulty.Ping(ctx) != nil })
	err := f.faulty.Send(ctx, theirs, say("x"))
	require.ErrorIs(t, err, layer.ErrNotSent)
	require.ErrorIs(t, err, layer.ErrUnavailable)
	require.NoError(t, f.faulty.Send(ctx, own, say("within the process")))
	require.Equal(t, "within the process", next(t, f.faulty, own).String("text"))
	f.server.RestartEmpty(t)
	f.settled(t)
	soon(t, "the other to recover", func() bool { return f.sound.Ping(ctx) == nil })
	require.NotEmpty(t, f.gap(t).reason)
	require.NoError(t, f.sound.GroupSend(ctx, "g", say("again")))
	require.Equal(t, "again", next(t, f.faulty, own).String("text"))
	require.Equal(t, "again", next(t, f.sound, theirs).String("text"))
	require.Equal(t, "again", <-job)
	require.NoError(t, f.sound.GroupSend(ctx, "left", say("left")))
	silent(t, f.faulty, own)
}

// Cancelled receivers lose nothing, however they meet what comes.
func TestCoreCancelledReceivers(t *testing.T) {
	f := newFaulty(t, func(o *channelsredis.Options) { o.Capacity = 10_000 })
	const count = 500
	sent := make(chan error, 1)
	go func() {
		for n := range count {
			if err := f.sound.Send(t.Context(), "jobs", note(n)); err != nil {
				sent <- err
				return
			}
			time.Sleep(100 * time.Microsecond)
		}
		sent <- nil
	}()
	var got []int
	for wait := time.Duration(0); len(got) < count; wait = (wait + 37*time.Microsecond) % time.Millisecond {
		ctx, cancel := context.WithTimeout(t.Context(), wait)
		msg, err := f.faulty.Receive(ctx, "jobs")
		cancel()
		if err == nil {
			got = append(got, int(msg.Int("n")))
			continue
		}
		require.ErrorIs(t, err, context.DeadlineExceeded)
		if len(got) > count-50 {
			wait = 100 * time.Millisecond
		}
	}
	require.NoError(t, <-sent)
	requireSeries(t, got, count)
	require.Zero(t, f.faulty.Stats().Dropped.Total())
}

// Close is prompt where the server does not answer.
func TestCoreCloseWithoutServer(t *testing.T) {
	f := newFaulty(t, nil)
	own := newOwn(t, f.faulty)
	require.NoError(t, f.faulty.GroupAdd(t.Context(), "g", own))
	f.proxy.BlackHole(faultproxy.Both)
	began := time.Now()
	require.NoError(t, f.faulty.Close())
	require.Less(t, time.Since(began), 4*time.Second)
	f.proxy.Heal()
}

// Redis 6.2 has no BZMPOP.
func TestCoreOldServer(t *testing.T) {
	server := redistest.Start(t, redistest.Config{Extra: []string{`rename-command BZMPOP ""`}})
	c, err := channelsredis.OpenCore(t.Context(), []string{server.URL()}, channelsredis.Options{Capacity: 1000})
	require.NoError(t, err)
	defer c.Close()
	other, err := channelsredis.OpenCore(t.Context(), []string{server.URL()}, channelsredis.Options{Capacity: 1000})
	require.NoError(t, err)
	defer other.Close()
	for _, channel := range []string{newOwn(t, c), "jobs"} {
		for n := range 300 {
			require.NoError(t, other.Send(t.Context(), channel, note(n)))
		}
		for n := range 300 {
			require.Equal(t, int64(n), next(t, c, channel).Int("n"))
		}
	}
}

// What a process leaves at Redis goes by itself.
func TestCoreLeavesNothing(t *testing.T) {
	f := newFaulty(t, nil)
	ctx := t.Context()
	own := newOwn(t, f.sound)
	require.NoError(t, f.sound.GroupAdd(ctx, "g", own))
	require.NoError(t, f.sound.Send(ctx, "jobs", say("x")))
	released := newOwn(t, f.sound)
	require.NoError(t, f.sound.GroupAdd(ctx, "released", released))
	require.NoError(t, f.sound.Release(ctx, released))
	soon(t, "the released channel to leave its group", func() bool { return f.client.Exists(ctx, "asgi:group:released").Val() == 0 })
	require.NoError(t, f.sound.Close())
	keys := f.client.Keys(ctx, "*").Val()
	require.Equal(t, []string{"asgijobs"}, keys)
	require.InDelta(t, 65*time.Second, f.client.PTTL(ctx, "asgijobs").Val(), float64(2*time.Second))
}
