package channelsredis_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/channellayer/channellayer/internal/faultproxy"
	"github.com/channellayer/channellayer/layer"
)

// covered waits until a gap is reported that holds a moment.
func (f *faulty) covered(t *testing.T, at time.Time, what string) gap {
	t.Helper()
	for {
		select {
		case g := <-f.gaps:
			t.Logf("gap from %v before %s to %v after: %s", at.Sub(g.from), what, g.to.Sub(at), g.reason)
			if g.from.Before(at) && g.to.After(at) {
				return g
			}
		case <-time.After(patience):
			require.Fail(t, "no gap holds the moment", what)
		}
	}
}

// later waits a moment, so that there is time between what was before and what
// comes.
func later() time.Time {
	time.Sleep(100 * time.Millisecond)
	return time.Now()
}

// What waited at a server that was lost is in the gap, however long it had waited
// there, and whatever else went on meanwhile.
func TestCoreGapHoldsWhatWaited(t *testing.T) {
	t.Parallel()
	f := newFaulty(t, nil)
	ctx := t.Context()
	require.NoError(t, f.sound.Send(ctx, "jobs", say("received")))
	require.NoError(t, f.sound.Send(ctx, "jobs", say("waits")))
	waits := later()
	require.NoError(t, f.sound.Send(ctx, "jobs", say("waits, too")))
	later()
	require.Equal(t, []string{"received"}, texts(t, f.faulty, "jobs", 1))
	require.NoError(t, layer.Ping(ctx, f.faulty)) // it knows that the server was there later
	f.server.RestartEmpty(t)
	f.covered(t, waits, "the message that waits")
	f.settled(t)
	require.NoError(t, f.faulty.Send(ctx, "jobs", say("after")))
	require.Equal(t, []string{"after"}, texts(t, f.faulty, "jobs", 1))
}

// A reply that is lost may have held what had waited for as long as a message may.
func TestCoreGapHoldsWhatAReplyHeld(t *testing.T) {
	t.Parallel()
	f := newFaulty(t, nil)
	ctx := t.Context()
	sent := time.Now()
	require.NoError(t, f.sound.Send(ctx, "jobs", say("lost")))
	later()
	silent(t, f.faulty, "others") // whatever else it reads
	later()
	require.NoError(t, f.sound.Send(ctx, "jobs", say("next")))
	f.proxy.DropReplies(1, faultproxy.Containing("asgijobs"))
	require.Equal(t, []string{"next"}, texts(t, f.faulty, "jobs", 1))
	f.covered(t, sent.Add(time.Microsecond), "the message that is lost")

	// Now it is known what the queue held last, but for a second by which scores may
	// be ahead.
	time.Sleep(1200 * time.Millisecond)
	require.NoError(t, f.sound.Send(ctx, "jobs", say("known")))
	require.Equal(t, []string{"known"}, texts(t, f.faulty, "jobs", 1))
	again := later()
	require.NoError(t, f.sound.Send(ctx, "jobs", say("lost")))
	f.proxy.DropReplies(1, faultproxy.Containing("asgijobs"))
	require.NoError(t, f.sound.Send(ctx, "jobs", say("next")))
	require.Equal(t, []string{"next"}, texts(t, f.faulty, "jobs", 1))
	g := f.covered(t, again.Add(time.Millisecond), "the message that is lost")
	require.True(t, g.from.After(sent), "all that was sent before the message received is known")
}

// A gap begins no earlier than need be: not before what was received, nor while it
// is known that nothing waited.
func TestCoreGapIsNoLongerThanNeedBe(t *testing.T) {
	t.Parallel()
	f := newFaulty(t, nil)
	ctx := t.Context()
	own := newOwn(t, f.faulty)
	lose := func(send func() error) gap {
		t.Helper()
		f.proxy.DropReplies(1, faultproxy.Containing("specific."))
		for {
			require.NoError(t, send())
			select {
			case g := <-f.gaps:
				return g
			case <-time.After(10 * time.Millisecond):
			}
		}
	}
	before := later()
	require.NoError(t, f.sound.Send(ctx, own, say("one")))
	require.NoError(t, f.sound.Send(ctx, own, say("two")))
	require.Equal(t, []string{"one", "two"}, texts(t, f.faulty, own, 2))
	require.True(t, lose(func() error { return f.sound.Send(ctx, own, say("maybe lost")) }).from.After(before), "messages that came one by one")

	before = time.Now()
	time.Sleep(2500 * time.Millisecond) // an empty queue is asked for each second
	require.True(t, lose(func() error { return nil }).from.After(before), "an empty queue")
}

// Who only sends is told when its server was there last, not when another was.
func TestCoreGapOfASender(t *testing.T) {
	t.Parallel()
	f := newFaulty(t, nil)
	require.NoError(t, f.faulty.Send(t.Context(), "jobs", say("lost")))
	sent := time.Now()
	f.server.RestartEmpty(t)
	f.covered(t, sent, "the end of the server")
}
