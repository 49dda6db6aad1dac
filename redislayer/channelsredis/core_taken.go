package channelsredis

import (
	"sync"
	"time"

	"github.com/channellayer/channellayer/redislayer/channelsredis/internal/redisconn"
)

// taken is how far a popper has come in each of its queues: what was sent there
// before a moment has been taken, or has expired. So it is known how old a
// message can be that is lost with the server, or with a reply.
type taken struct {
	expiry time.Duration

	mu      sync.Mutex
	until   map[string]time.Time
	sweepAt int // with so many queues, those that have not been read for longer than expiry are forgotten
}

const minTakenSweep = 64

func newTaken(expiry time.Duration) *taken {
	return &taken{expiry: expiry, until: map[string]time.Time{}, sweepAt: minTakenSweep}
}

// begin is told which queues will be read. Those that were not until now hold
// nothing that was sent before since.
func (t *taken) begin(keys []string, since time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, key := range keys {
		if _, known := t.until[key]; !known {
			t.until[key] = since
		}
	}
	if len(t.until) >= t.sweepAt {
		for key, until := range t.until {
			if time.Since(until) > t.expiry {
				delete(t.until, key)
			}
		}
		t.sweepAt = max(minTakenSweep, 2*len(t.until))
	}
}

// reached is told that all that was sent before until is taken from the queues.
func (t *taken) reached(until time.Time, keys ...string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, key := range keys {
		if t.until[key].Before(until) {
			t.until[key] = until
		}
	}
}

// oldest is when a message that still stood in one of the queues can have been
// sent at the earliest; of no queue, now.
func (t *taken) oldest(keys ...string) time.Time {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	oldest := now
	for _, key := range keys {
		if until := t.until[key]; until.Before(oldest) {
			oldest = until
		}
	}
	if expired := now.Add(-t.expiry); oldest.Before(expired) {
		return expired
	}
	return oldest
}

// oldestOfAll is oldest of all queues from which something was taken within
// expiry, or that were found empty.
func (t *taken) oldestOfAll() time.Time {
	t.mu.Lock()
	defer t.mu.Unlock()
	oldest := time.Now()
	expired := oldest.Add(-t.expiry)
	for _, until := range t.until {
		if until.Before(oldest) && until.After(expired) {
			oldest = until
		}
	}
	return oldest
}

// meet takes note of the server that the popper is connected to now.
func (p *popper) meet(conn *redisconn.Conn) {
	if p.runID != "" && p.runID != conn.RunID {
		p.w.met(conn.RunID, p.taken.oldestOfAll())
	}
	p.last, p.runID = conn.ID, conn.RunID
}

// begin takes note of queues that were not read until now. One of this process
// has only been used since the queues were last asked for; in one of a normal
// channel, there may be whatever has not expired.
func (p *popper) begin(keys []string, asked time.Time) {
	if !p.gathers {
		asked = p.round.Add(-p.c.options.Expiry)
	}
	p.taken.begin(keys, asked)
}

// reached takes note of how far a pop came that began then: queues that it found
// empty, or left so, hold nothing older; what one still holds is no older than
// what was taken last.
func (p *popper) reached(began time.Time, keys []string, key string, got []entry, count int) {
	switch {
	case len(got) == 0:
		p.taken.reached(began, keys...)
	case len(got) < count:
		p.taken.reached(began, key)
	default:
		p.taken.reached(began.Add(-p.c.age(p.w, got[len(got)-1].score)), key)
	}
}
