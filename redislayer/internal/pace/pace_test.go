package pace

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// play tells a pace of reads: arrive says how many messages a read finds that
// long after the one before it.
func play(reads int, apart time.Duration, arrive func(time.Duration) int) (waits int, p Pace) {
	const waiting = time.Millisecond // what a wait comes to
	now := time.Now()
	for range reads {
		took := apart
		if p.waiting {
			took += waiting
			waits++
		}
		now = now.Add(took)
		p.Next(now, arrive(took))
	}
	return waits, p
}

func TestPaceWaitsWhereMessagesComeByThemselves(t *testing.T) {
	waits, p := play(1000, 100*time.Microsecond, func(took time.Duration) int { return int(took / (50 * time.Microsecond)) })
	require.Greater(t, waits, 900, "waits in 1,000 reads, at 20,000 messages a second")
	p.Next(time.Now(), 0)
	require.False(t, p.Next(time.Now(), 1), "waiting begins anew when nothing has come")
}

func TestPaceDoesNotWaitForAnswers(t *testing.T) {
	// Whoever sends one waits for it to be answered: waiting brings no more.
	for _, senders := range []int{1, 4, 64} {
		waits, _ := play(100_000, 200*time.Microsecond, func(time.Duration) int { return senders })
		require.Less(t, waits, 200, "waits in 100,000 reads, with %d senders", senders)
	}
}

func TestPaceDoesNotWaitWhereLittleComes(t *testing.T) {
	waits, _ := play(10_000, 500*time.Microsecond, func(time.Duration) int { return 1 })
	require.Zero(t, waits, "waits at 2,000 messages a second")
}
