package link

import (
	"context"
	"math/rand/v2"
	"time"
)

// Between attempts to connect.
const (
	MinBackoff = 20 * time.Millisecond
	maxBackoff = 500 * time.Millisecond
)

// Backoff is the waiting between attempts to connect: [MinBackoff], then twice as
// long each time up to half a second, each from half to one and a half times as
// long, so that those who lost a server together do not come back together. The
// zero value is ready.
type Backoff struct{ next time.Duration }

// Wait waits, until wake or ctx's end at most. A nil wake never comes.
func (b *Backoff) Wait(ctx context.Context, wake <-chan struct{}) {
	step := max(b.next, MinBackoff)
	b.next = min(2*step, maxBackoff)
	timer := time.NewTimer(step/2 + rand.N(step))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-wake:
	case <-ctx.Done():
	}
}

// Reset is for an attempt that succeeded.
func (b *Backoff) Reset() { b.next = 0 }
