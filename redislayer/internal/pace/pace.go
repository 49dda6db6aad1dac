// Package pace tells readers of queues when to wait for more.
package pace

import "time"

// Pace decides when a reader lets messages gather before it reads again. A read
// costs Redis and the reader about as much as many messages do, and a receiver
// that is woken once for several messages costs a fraction; so where messages
// come one close upon the other, to wait for a moment carries more. Where they
// come because earlier ones were answered, it carries less: so it is tried, and
// kept up for as long as no less arrives than before. The zero value is ready.
type Pace struct {
	waiting bool
	rate    float64 // messages a second, when the reader did not wait
	need    int     // reads close together after which to try again
	kept    bool    // waiting has proved right since it was begun

	// The stretch that is measured.
	began    time.Time
	last     time.Time
	reads    int
	messages int
}

// Wait is how long to wait: the timers of an idle process make it 1 ms.
const Wait = 200 * time.Microsecond

const (
	gap        = 400 * time.Microsecond // between reads that are close together, at most
	trial      = 4                      // reads
	loss       = 0.8                    // of the rate; below it, waiting is given up
	leastReads = 16
	mostReads  = 4096
)

// Next is told that a read has brought messages, and reports whether to wait
// before the next.
func (p *Pace) Next(now time.Time, messages int) bool {
	apart := now.Sub(p.last)
	p.last = now
	if messages == 0 || !p.waiting && apart > gap {
		p.stretch(now)
		p.waiting = p.waiting && messages > 0
		return false
	}
	p.reads++
	p.messages += messages
	rate := float64(p.messages) / max(now.Sub(p.began), time.Microsecond).Seconds()
	switch {
	case !p.waiting && p.reads >= max(p.need, leastReads):
		p.waiting, p.rate, p.kept = true, rate, false
		p.stretch(now)
	case p.waiting && p.reads == trial:
		p.stretch(now)
		switch {
		case rate >= loss*p.rate:
			p.kept, p.need = true, 0
		case p.kept: // less comes now, whatever the reason
			p.waiting = false
		default:
			p.waiting, p.need = false, min(2*max(p.need, leastReads), mostReads)
		}
	}
	return p.waiting
}

// stretch begins another stretch.
func (p *Pace) stretch(now time.Time) { p.began, p.reads, p.messages = now, 0, 0 }
