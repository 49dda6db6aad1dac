package process_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/layer/process"
)

// gapped runs f in a bubble on a Process with n channels and a spread of ten
// seconds.
func gapped(t *testing.T, n int, f func(t *testing.T, p *testProcess, channels []string)) {
	t.Helper()
	options := process.Options{GapMessage: layer.NewMessage(map[string]any{"type": "gap"}), GapSpread: 10 * time.Second}
	bubble(t, options, func(t *testing.T, p *testProcess) {
		channels := make([]string, n)
		for i := range channels {
			channels[i] = p.newChannel()
		}
		f(t, p, channels) // at any point of a round, the Process is closed
	})
}

func (p *testProcess) gap() { p.Gap(time.Now(), time.Now(), "test") }

// noticed is how many channels have an unread notice.
func (p *testProcess) noticed(channels []string) (n int) {
	synctest.Wait()
	for _, channel := range channels {
		n += p.Mailboxes().Len(channel)
	}
	return n
}

func TestGapMessagesAreSpread(t *testing.T) {
	gapped(t, 1000, func(t *testing.T, p *testProcess, channels []string) {
		time.Sleep(30 * time.Second)
		require.Zero(t, p.noticed(channels), "notices without a gap")
		p.gap()
		for second := 1; second <= 10; second++ {
			time.Sleep(time.Second)
			require.InDelta(t, 100*second, p.noticed(channels), 2, "after %d s of 10", second)
		}
	})
}

func TestGapMessageOfLoneChannelIsJittered(t *testing.T) {
	early := 0
	for range 40 {
		gapped(t, 1, func(t *testing.T, p *testProcess, channels []string) {
			p.gap()
			time.Sleep(5 * time.Second)
			early += p.noticed(channels)
			time.Sleep(5 * time.Second)
			require.Equal(t, 1, p.noticed(channels))
		})
	}
	require.Greater(t, early, 2, "of 40 processes with one channel, told in the first half of the spread")
	require.Less(t, early, 38, "of 40 processes with one channel, told in the first half of the spread")
}

// With GapEach, few channels are told sooner; many take no longer than GapSpread.
func TestGapEach(t *testing.T) {
	for n, want := range map[int]time.Duration{1: time.Second, 5: 5 * time.Second, 100: 10 * time.Second} {
		options := process.Options{
			GapMessage: layer.NewMessage(map[string]any{"type": "gap"}), GapSpread: 10 * time.Second, GapEach: time.Second,
		}
		bubble(t, options, func(t *testing.T, p *testProcess) {
			channels := make([]string, n)
			for i := range channels {
				channels[i] = p.newChannel()
			}
			p.gap()
			time.Sleep(want / 4)
			require.LessOrEqual(t, p.noticed(channels), n/4+1, "of %d channels, told in a quarter of %v", n, want)
			time.Sleep(want - want/4)
			require.Equal(t, n, p.noticed(channels), "of %d channels, told in %v", n, want)
		})
	}
}

// A second gap in the middle of a round: those who were told before it are told
// again, those who were not are told once, and first.
func TestGapDuringARound(t *testing.T) {
	gapped(t, 1000, func(t *testing.T, p *testProcess, channels []string) {
		told := make([]int, len(channels))
		look := func() (n int) {
			synctest.Wait()
			for i, channel := range channels {
				if p.Mailboxes().Len(channel) > 0 {
					_, err := p.Receive(t.Context(), channel)
					require.NoError(t, err)
					told[i]++
					n++
				}
			}
			return n
		}
		p.gap()
		time.Sleep(4 * time.Second)
		require.InDelta(t, 400, look(), 2)
		p.gap()
		p.gap()
		// Not quite the 6 s that the other 600 take: the one after them may be
		// due a little early.
		time.Sleep(5900 * time.Millisecond)
		look()
		for i, n := range told {
			require.LessOrEqual(t, n, 1, "%s was told again before all were told once", channels[i])
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
	gapped(t, 100, func(t *testing.T, p *testProcess, channels []string) {
		for range 15 {
			p.gap()
			time.Sleep(time.Second)
		}
		require.Equal(t, len(channels), p.noticed(channels))
	})
}
