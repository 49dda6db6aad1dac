// Package backlog keeps how old what waits in queues at Redis can be: that is what
// a gap has to hold where the server, or a reply, is lost.
package backlog

import (
	"sync"
	"time"
)

// Bounds are how far a reader has come in each of its queues: what was sent there
// before a moment has been taken, or has expired. All methods may be called
// concurrently.
type Bounds struct {
	expiry time.Duration

	mu      sync.Mutex
	queues  map[string]*queue
	sweepAt int // with so many, those that nobody asked for within expiry are forgotten
}

type queue struct {
	until time.Time
	asked time.Time // when it was last to be read
}

const minSweep = 64

// New returns the bounds of queues whose messages expire after so long.
func New(expiry time.Duration) *Bounds {
	return &Bounds{expiry: expiry, queues: map[string]*queue{}, sweepAt: minSweep}
}

// Begin is told which queues will be read. Those that were not until now hold
// nothing that was sent before since.
func (b *Bounds) Begin(keys []string, since time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	for _, key := range keys {
		q := b.queues[key]
		if q == nil {
			q = &queue{until: since}
			b.queues[key] = q
		}
		q.asked = now
	}
	if len(b.queues) >= b.sweepAt {
		for key, q := range b.queues {
			if now.Sub(q.asked) > b.expiry {
				delete(b.queues, key)
			}
		}
		b.sweepAt = max(minSweep, 2*len(b.queues))
	}
}

// Reached is told that all that was sent before until is taken from the queues, if
// they are not forgotten.
func (b *Bounds) Reached(until time.Time, keys ...string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, key := range keys {
		if q := b.queues[key]; q != nil && q.until.Before(until) {
			q.until = until
		}
	}
}

// FellBack is told that something that was sent then stands in the queue again.
func (b *Bounds) FellBack(to time.Time, key string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if q := b.queues[key]; q != nil && q.until.After(to) {
		q.until = to
	}
}

// Oldest is when a message that stood in one of the queues can have been sent at
// the earliest: it had not expired at that time, nor have they come further since.
func (b *Bounds) Oldest(at time.Time, keys []string) time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.oldestLocked(at, at, keys)
}

// OldestOfAll is Oldest of these queues, and all others that were to be read
// within expiry.
func (b *Bounds) OldestOfAll(at time.Time, keys []string) time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	oldest := at
	for _, q := range b.queues {
		if q.until.Before(oldest) && at.Sub(q.asked) <= b.expiry {
			oldest = q.until
		}
	}
	return b.oldestLocked(at, oldest, keys)
}

func (b *Bounds) oldestLocked(at, oldest time.Time, keys []string) time.Time {
	expired := at.Add(-b.expiry)
	for _, key := range keys {
		q := b.queues[key]
		if q == nil {
			return expired
		}
		if q.until.Before(oldest) {
			oldest = q.until
		}
	}
	if oldest.Before(expired) {
		return expired
	}
	return oldest
}
