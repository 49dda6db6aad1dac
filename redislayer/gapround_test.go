package redislayer

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/layer/mailbox"
)

// noticed runs f in a bubble on a gapNotice with n channels and a spread of
// ten seconds.
func noticed(t *testing.T, n int, f func(t *testing.T, g *gapNotice, channels []string)) {
	synctest.Test(t, func(t *testing.T) {
		mailboxes, err := mailbox.New(mailbox.Options{})
		require.NoError(t, err)
		defer mailboxes.Close()
		channels := make([]string, n)
		for i := range channels {
			channels[i] = fmt.Sprintf("specific.P!%d", i)
			require.NoError(t, mailboxes.Open(channels[i]))
		}
		g := newGapNotice(&Layer{
			mailboxes: mailboxes,
			options: Options{
				GapMessage: layer.NewMessage(map[string]any{"type": "gap"}),
				GapSpread:  10 * time.Second,
			},
		})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			g.run(ctx)
			close(ended)
		}()
		f(t, g, channels)
		cancel() // at any point of a round
		synctest.Wait()
		select {
		case <-ended:
		default:
			t.Error("it goes on after its ctx has ended")
		}
	})
}

// count is how many channels have an unread notice.
func (g *gapNotice) count(channels []string) (n int) {
	for _, channel := range channels {
		n += g.l.mailboxes.Len(channel)
	}
	return n
}

func TestGapNoticesAreSpread(t *testing.T) {
	noticed(t, 1000, func(t *testing.T, g *gapNotice, channels []string) {
		time.Sleep(time.Minute)
		require.Zero(t, g.count(channels), "notices without a gap")
		g.gap()
		for second := 1; second <= 10; second++ {
			time.Sleep(time.Second)
			synctest.Wait()
			require.InDelta(t, 100*second, g.count(channels), 2, "after %d s of 10", second)
		}
	})
}

func TestGapNoticeOfLoneChannelIsJittered(t *testing.T) {
	early := 0
	for range 40 {
		noticed(t, 1, func(t *testing.T, g *gapNotice, channels []string) {
			g.gap()
			time.Sleep(5 * time.Second)
			synctest.Wait()
			early += g.count(channels)
			time.Sleep(5 * time.Second)
			synctest.Wait()
			require.Equal(t, 1, g.count(channels))
		})
	}
	require.Greater(t, early, 2, "of 40 processes with one channel, told in the first half of the spread")
	require.Less(t, early, 38, "of 40 processes with one channel, told in the first half of the spread")
}

// A second gap in the middle of a round: those who were told before it are told
// again, those who were not are told once, and first.
func TestGapDuringARound(t *testing.T) {
	noticed(t, 1000, func(t *testing.T, g *gapNotice, channels []string) {
		told := make([]int, len(channels))
		look := func() (n int) {
			synctest.Wait()
			for i, channel := range channels {
				if g.l.mailboxes.Len(channel) > 0 {
					_, err := g.l.mailboxes.Receive(t.Context(), channel)
					require.NoError(t, err)
					told[i]++
					n++
				}
			}
			return n
		}
		g.gap()
		time.Sleep(4 * time.Second)
		require.InDelta(t, 400, look(), 2)
		g.gap()
		g.gap()
		// Not quite the 6 s that the other 600 take: the one after them may be
		// due a little early.
		time.Sleep(5900 * time.Millisecond)
		look()
		for i, n := range told {
			if n == 0 {
				t.Logf("%s was not told yet", channels[i])
			}
			require.LessOrEqual(t, n, 1, "told again before all were told once")
		}
		time.Sleep(time.Minute)
		look()
		again := 0
		for i, n := range told {
			require.GreaterOrEqual(t, n, 1, "%s was not told", channels[i])
			require.LessOrEqual(t, n, 2, "%s was told too often", channels[i])
			again += n - 1
		}
		require.InDelta(t, 400, again, 2, "told before the second gap, and again after it")
	})
}

// Gaps that come faster than a round takes keep nobody from being told.
func TestManyGaps(t *testing.T) {
	noticed(t, 100, func(t *testing.T, g *gapNotice, channels []string) {
		for range 15 {
			g.gap()
			time.Sleep(time.Second)
		}
		synctest.Wait()
		require.Equal(t, len(channels), g.count(channels))
	})
}
