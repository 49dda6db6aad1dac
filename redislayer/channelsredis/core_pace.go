package channelsredis

import "time"

// pace decides when a popper lets messages gather before it pops again. A pop
// costs Redis and the popper about as much as many messages do, and a receiver
// that is woken once for several messages costs a fraction; so where messages
// come one close upon the other, to wait for a moment carries more (with one
// sender: 16,000 a second instead of 9,500, at half of the CPU time). Where they
// come because earlier ones were answered, it carries less: so it is tried, and
// kept up for as long as no less arrives than before.
type pace struct {
	waiting bool
	rate    float64 // messages a second, when the popper did not wait
	need    int     // reads close together after which to try again
	kept    bool    // waiting has proved right since it was begun

	// The stretch that is measured.
	began    time.Time
	last     time.Time
	reads    int
	messages int
}

const (
	paceGap     = 400 * time.Microsecond // between reads that are close together, at most
	paceWait    = 200 * time.Microsecond // the timers of an idle process make it 1 ms
	paceTrial   = 4                      // reads
	paceLoss    = 0.8                    // of the rate; below it, waiting is given up
	paceNeed    = 16
	paceMaxNeed = 4096
)

// next is told that a pop has brought messages, and reports whether to wait
// before the next.
func (p *pace) next(now time.Time, messages int) bool {
	apart := now.Sub(p.last)
	p.last = now
	if messages == 0 || !p.waiting && apart > paceGap {
		p.stretch(now)
		p.waiting = p.waiting && messages > 0
		return false
	}
	p.reads++
	p.messages += messages
	rate := float64(p.messages) / max(now.Sub(p.began), time.Microsecond).Seconds()
	switch {
	case !p.waiting && p.reads >= max(p.need, paceNeed):
		p.waiting, p.rate, p.kept = true, rate, false
		p.stretch(now)
	case p.waiting && p.reads == paceTrial:
		p.stretch(now)
		switch {
		case rate >= paceLoss*p.rate:
			p.kept, p.need = true, 0
		case p.kept: // less comes now, whatever the reason
			p.waiting = false
		default:
			p.waiting, p.need = false, min(2*max(p.need, paceNeed), paceMaxNeed)
		}
	}
	return p.waiting
}

// stretch begins another stretch.
func (p *pace) stretch(now time.Time) { p.began, p.reads, p.messages = now, 0, 0 }
