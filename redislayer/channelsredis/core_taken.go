package channelsredis

import (
	"slices"
	"strconv"
	"time"

	"github.com/channellayer/channellayer/redislayer/channelsredis/internal/redisconn"
)

// begin takes note of queues that were not read until now. One of this process
// has only been used since the queues were last asked for; in one of a normal
// channel, there may be whatever has not expired.
func (p *popper) begin(keys []string, asked time.Time) {
	if !p.gathers {
		asked = p.round.Add(-p.c.options.Expiry)
	}
	p.taken.Begin(keys, asked)
}

// reached takes note of how far a pop came that began then: queues that it found
// empty, or left so, hold nothing older; what one still holds is no older than
// what was taken last.
func (p *popper) reached(began time.Time, keys []string, key string, got []entry, count int) {
	if len(got) == 0 {
		p.taken.Reached(began, keys...)
		return
	}
	p.taken.Reached(began, keys[:slices.Index(keys, key)]...)
	if len(got) < count {
		p.taken.Reached(began, key)
	} else if at, known := p.sentAt(began, got[len(got)-1]); known {
		p.taken.Reached(at, key)
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
	p.taken.FellBack(at, key)
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
	return p.taken.OldestOfAll(at, keys)
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
	conn := p.conn
	p.mu.Unlock()
	if conn != nil && conn.RunID != runID {
		conn.Pipe.Cut()
	}
}
