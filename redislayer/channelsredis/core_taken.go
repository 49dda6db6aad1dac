package channelsredis

import (
	"slices"
	"strconv"
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
	queues  map[string]*takenQueue
	sweepAt int // with so many, those that nobody asked for within expiry are forgotten
}

type takenQueue struct {
	until time.Time
	asked time.Time // when it was last to be read
}

const minTakenSweep = 64

func newTaken(expiry time.Duration) *taken {
	return &taken{expiry: expiry, queues: map[string]*takenQueue{}, sweepAt: minTakenSweep}
}

// begin is told which queues will be read. Those that were not until now hold
// nothing that was sent before since.
func (t *taken) begin(keys []string, since time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	for _, key := range keys {
		q := t.queues[key]
		if q == nil {
			q = &takenQueue{until: since}
			t.queues[key] = q
		}
		q.asked = now
	}
	if len(t.queues) >= t.sweepAt {
		for key, q := range t.queues {
			if now.Sub(q.asked) > t.expiry {
				delete(t.queues, key)
			}
		}
		t.sweepAt = max(minTakenSweep, 2*len(t.queues))
	}
}

// reached is told that all that was sent before until is taken from the queues.
func (t *taken) reached(until time.Time, keys ...string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, key := range keys {
		if q := t.queues[key]; q.until.Before(until) {
			q.until = until
		}
	}
}

// fellBack is told that something that was sent then stands in the queue again.
func (t *taken) fellBack(to time.Time, key string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if q := t.queues[key]; q.until.After(to) {
		q.until = to
	}
}

// oldest is when a message that stood in one of the queues can have been sent at
// the earliest: it had not expired at that time, nor have they come further since.
func (t *taken) oldest(at time.Time, keys []string) time.Time {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.oldestLocked(at, at, keys)
}

// oldestOfAll is oldest of these queues, and all others that were to be read
// within expiry.
func (t *taken) oldestOfAll(at time.Time, keys []string) time.Time {
	t.mu.Lock()
	defer t.mu.Unlock()
	oldest := at
	for _, q := range t.queues {
		if q.until.Before(oldest) && at.Sub(q.asked) <= t.expiry {
			oldest = q.until
		}
	}
	return t.oldestLocked(at, oldest, keys)
}

func (t *taken) oldestLocked(at, oldest time.Time, keys []string) time.Time {
	expired := at.Add(-t.expiry)
	for _, key := range keys {
		q := t.queues[key]
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
	if len(got) == 0 {
		p.taken.reached(began, keys...)
		return
	}
	p.taken.reached(began, keys[:slices.Index(keys, key)]...)
	if len(got) < count {
		p.taken.reached(began, key)
	} else if at, known := p.sentAt(began, got[len(got)-1]); known {
		p.taken.reached(at, key)
	}
}

// givingBack takes note of messages that will stand in their queue again.
func (p *popper) givingBack(began time.Time, key string, back []entry) {
	if len(back) == 0 {
		return
	}
	at, known := p.sentAt(began, back[0])
	if !known {
		at = began.Add(-p.c.options.Expiry)
	}
	p.taken.fellBack(at, key)
}

// sentAt is when a message was sent, or earlier, which is known if the time at the
// popper's server is. Scores may be ahead of it.
func (p *popper) sentAt(began time.Time, e entry) (at time.Time, known bool) {
	seconds, err := strconv.ParseFloat(e.score, 64)
	if err != nil || !p.w.knowsClockOf(p.runID) {
		return began, false
	}
	ago := float64(p.c.now()+p.w.clock.Load())/float64(time.Second) - seconds
	ago = max(0, min(ago+maxScoreAhead.Seconds(), maxAgeSeconds))
	return began.Add(-time.Duration(ago * float64(time.Second))), true
}

// oldest is when the oldest message that its server held for the popper at that time
// can have been sent.
func (p *popper) oldest(at time.Time) time.Time {
	keys, _ := p.want()
	return p.taken.oldestOfAll(at, keys)
}

// maxScoreAhead is by how much a score may be ahead of when the message was sent: as
// much as what Go sends lets itself be pushed ahead.
const maxScoreAhead = time.Second

// meet takes note of the server that the popper is connected to now.
func (p *popper) meet(conn *redisconn.Conn) {
	if p.runID != "" && p.runID != conn.RunID {
		p.w.met(conn.RunID, p.oldest(p.heard))
	}
	p.heard = time.Now()
	p.last, p.runID = conn.ID, conn.RunID
	p.mu.Lock()
	p.conn = conn
	p.mu.Unlock()
}

// follow ends a connection to a server that is not the writer's any more.
func (p *popper) follow(runID string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.conn != nil && p.conn.RunID != runID {
		p.conn.Pipe.Cut()
	}
}
