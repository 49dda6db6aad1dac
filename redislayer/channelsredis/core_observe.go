package channelsredis

import (
	"time"

	"github.com/channellayer/channellayer/layer"
)

// Stats implements [layer.Statser].
func (c *Core) Stats() layer.Stats {
	stats := c.process.Stats()
	stats.Received += c.normals.received.Load()
	return stats
}

// dropFull counts n messages of a group that a queue had no room for: one for
// each of the channels it is of.
func (c *Core) dropFull(group string, channels []string, n int) {
	if len(channels) > maxNamedDrops {
		c.process.Drop(layer.DropFull, group, n*len(channels))
		return
	}
	for _, channel := range channels {
		c.process.Drop(layer.DropFull, channel, n)
	}
}

// maxNamedDrops is up to how many channels of one process are told one by one.
const maxNamedDrops = 100

// lateBack counts messages that could not be given back for certain: they must
// not be put back twice.
func (c *Core) lateBack(key string, n int, err error) {
	c.log.Warn("messages could not be given back", "key", key, "count", n, "error", err)
	c.process.Drop(layer.DropLate, c.channelOf(key), n)
}

func (c *Core) gap(from, to time.Time, reason string) {
	c.log.Warn("messages may have been lost", "from", from, "to", to, "reason", reason)
	c.process.Gap(from, to, reason)
}
