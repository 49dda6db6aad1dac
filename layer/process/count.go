package process

import (
	"sync/atomic"
	"time"

	"github.com/channellayer/channellayer/layer"
)

// counters are what the mailboxes do not count.
type counters struct {
	sent, groupSent counter
	dropped         [len(layer.Drops{})]counter
	gaps            atomic.Uint64
}

// CountSend counts a Send to the channel that succeeded.
func (p *Process) CountSend(channel string) { p.sent.add(channel, 1) }

// CountGroupSend counts a GroupSend to the group that succeeded.
func (p *Process) CountGroupSend(group string) { p.groupSent.add(group, 1) }

// Drop counts messages that the backend gives up, and tells the observer. name
// is that of the channel, or of the group where no channel is known, or "".
func (p *Process) Drop(reason layer.DropReason, name string, count int) {
	p.dropped[reason].add(name, uint64(count))
	if p.options.Dropped != nil {
		p.options.Dropped(reason, name, count)
	}
}

// Stats does all of what [layer.Statser] asks for.
func (p *Process) Stats() layer.Stats {
	boxes := p.mailboxes.Stats()
	stats := layer.Stats{
		Sent:      p.sent.sum(),
		GroupSent: p.groupSent.sum(),
		Received:  boxes.Received,
		Abandoned: boxes.Abandoned,
		Gaps:      p.gaps.Load(),
		Dropped:   boxes.Dropped,
	}
	for reason := range p.dropped {
		stats.Dropped[reason] += p.dropped[reason].sum()
	}
	return stats
}

// Gap counts and reports that messages sent between from and to may have been
// lost, and sees to it that every channel is told (Options.GapMessage). Call it
// once memberships are restored at the broker. It does not wait for the
// channels.
func (p *Process) Gap(from, to time.Time, reason string) {
	p.gaps.Add(1)
	if p.options.Observer.Gap != nil {
		p.options.Observer.Gap(from, to, reason)
	}
	select {
	case p.gapped <- struct{}{}:
	default: // one is pending
	}
}

// counter is a counter that many goroutines add to: spread over cache lines by
// the name that is being counted for, so that cores that work on different
// channels do not meet.
type counter [16]struct {
	n atomic.Uint64
	_ [56]byte
}

// add counts n for a name. Names that a Process makes, and most that people
// make, differ most at their end.
func (c *counter) add(name string, n uint64) {
	var last byte
	if name != "" {
		last = name[len(name)-1]
	}
	c[last%byte(len(c))].n.Add(n)
}

func (c *counter) sum() (sum uint64) {
	for i := range c {
		sum += c[i].n.Load()
	}
	return sum
}
