package redislayer

import (
	"sync/atomic"
	"time"

	"github.com/channellayer/channellayer/layer"
)

// counters are what the mailboxes do not count.
type counters struct {
	sent, groupSent, gaps atomic.Uint64
	dropped               [len(layer.Drops{})]atomic.Uint64
	undecodableToldAt     atomic.Int64 // on the layer's clock
}

// undecodableInterval is how often the log is told of entries that cannot be
// read: with a wrong key that is all of them.
const undecodableInterval = int64(10 * time.Second)

// Stats implements [layer.Statser].
func (l *Layer) Stats() layer.Stats {
	boxes := l.mailboxes.Stats()
	stats := layer.Stats{
		Sent:      l.counters.sent.Load(),
		GroupSent: l.counters.groupSent.Load(),
		Received:  boxes.Received,
		Abandoned: boxes.Abandoned,
		Gaps:      l.counters.gaps.Load(),
		Dropped:   boxes.Dropped,
	}
	for reason := range l.counters.dropped {
		stats.Dropped[reason] += l.counters.dropped[reason].Load()
	}
	return stats
}

func (l *Layer) drop(reason layer.DropReason, name string, count int) {
	l.counters.dropped[reason].Add(uint64(count))
	if l.options.Observer.Dropped != nil {
		l.options.Observer.Dropped(reason, name, count)
	}
}

func (l *Layer) undecodable(err error, count int) {
	now, told := l.now(), l.counters.undecodableToldAt.Load()
	if (told == 0 || now-told > undecodableInterval) && l.counters.undecodableToldAt.CompareAndSwap(told, now) {
		l.log.Warn("the inbox has what cannot be read", "error", err)
	}
	l.drop(layer.DropUndecodable, "", count)
}

func (l *Layer) gap(from, to time.Time, reason string) {
	l.counters.gaps.Add(1)
	l.log.Warn("messages may have been lost", "from", from, "to", to, "reason", reason)
	if l.options.Observer.Gap != nil {
		l.options.Observer.Gap(from, to, reason)
	}
	l.notice.gap()
}
