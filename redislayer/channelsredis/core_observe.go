package channelsredis

import (
	"sync/atomic"
	"time"

	"github.com/channellayer/channellayer/layer"
)

// coreCounters are what the mailboxes do not count.
type coreCounters struct {
	sent, groupSent, received, gaps atomic.Uint64
	dropped                         [len(layer.Drops{})]atomic.Uint64
	undecodableToldAt               atomic.Int64 // on the layer's clock
}

// tellInterval is how often the log is told of messages that cannot be
// read: with a wrong key that is all of them.
const tellInterval = int64(10 * time.Second)

// Stats implements [layer.Statser].
func (c *Core) Stats() layer.Stats {
	boxes := c.mailboxes.Stats()
	stats := layer.Stats{
		Sent:      c.counters.sent.Load(),
		GroupSent: c.counters.groupSent.Load(),
		Received:  boxes.Received + c.counters.received.Load(),
		Abandoned: boxes.Abandoned,
		Gaps:      c.counters.gaps.Load(),
		Dropped:   boxes.Dropped,
	}
	for reason := range c.counters.dropped {
		stats.Dropped[reason] += c.counters.dropped[reason].Load()
	}
	return stats
}

func (c *Core) drop(reason layer.DropReason, name string, count int) {
	c.counters.dropped[reason].Add(uint64(count))
	if c.options.Observer.Dropped != nil {
		c.options.Observer.Dropped(reason, name, count)
	}
}

// dropFull counts n messages of a group that a queue had no room for: one for
// each of the channels it is of.
func (c *Core) dropFull(group string, channels []string, n int) {
	if len(channels) > maxNamedDrops {
		c.drop(layer.DropFull, group, n*len(channels))
		return
	}
	for _, channel := range channels {
		c.drop(layer.DropFull, channel, n)
	}
}

// maxNamedDrops is up to how many channels of one process are told one by one.
const maxNamedDrops = 100

func (c *Core) undecodable(name string, err error) {
	now, told := c.now(), c.counters.undecodableToldAt.Load()
	if (told == 0 || now-told > tellInterval) && c.counters.undecodableToldAt.CompareAndSwap(told, now) {
		c.log.Warn("a message cannot be read", "channel", name, "error", err)
	}
	c.drop(layer.DropUndecodable, name, 1)
}

// lateBack counts messages that could not be given back for certain: they must
// not be put back twice.
func (c *Core) lateBack(key string, n int, err error) {
	c.log.Warn("messages could not be given back", "key", key, "count", n, "error", err)
	c.drop(layer.DropLate, c.channelOf(key), n)
}

func (c *Core) gap(from, to time.Time, reason string) {
	c.counters.gaps.Add(1)
	c.log.Warn("messages may have been lost", "from", from, "to", to, "reason", reason)
	if c.options.Observer.Gap != nil {
		c.options.Observer.Gap(from, to, reason)
	}
	c.notices.tell(true)
}
