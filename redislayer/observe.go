package redislayer

import (
	"time"

	"github.com/channellayer/channellayer/layer"
)

// Stats implements [layer.Statser].
func (l *Layer) Stats() layer.Stats { return l.process.Stats() }

// undecodableInterval is how often the log is told of entries that cannot be
// read: with a wrong key that is all of them.
const undecodableInterval = int64(10 * time.Second)

func (l *Layer) undecodable(err error, count int) {
	now, told := l.now(), l.undecodableToldAt.Load()
	if (told == 0 || now-told > undecodableInterval) && l.undecodableToldAt.CompareAndSwap(told, now) {
		l.log.Warn("the inbox has what cannot be read", "error", err)
	}
	l.process.Drop(layer.DropUndecodable, "", count)
}

func (l *Layer) gap(from, to time.Time, reason string) {
	l.log.Warn("messages may have been lost", "from", from, "to", to, "reason", reason)
	l.process.Gap(from, to, reason)
}
