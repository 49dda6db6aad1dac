package channelsredis

import (
	"maps"
	"slices"
	"sync"

	"github.com/channellayer/channellayer/layer"
)

// ownQueues are the queues of this process: one for each prefix that NewChannel
// was given, until it has had no channel for so long that Redis has forgotten it,
// too, or only others still send there.
type ownQueues struct {
	mu   sync.Mutex
	used map[string]int64 // by key: when it was last known to have a channel, on the layer's clock
}

// ownKeys are the keys of the queues to read.
func (c *Core) ownKeys() (keys []string, count int) {
	c.own.mu.Lock()
	defer c.own.mu.Unlock()
	keys = slices.AppendSeq(make([]string, 0, len(c.own.used)), maps.Keys(c.own.used))
	return keys, maxPop
}

// openOwn sees to it that the queue of a channel is read.
func (c *Core) openOwn(prefix string) {
	key := c.options.Prefix + prefix
	c.own.mu.Lock()
	_, known := c.own.used[key]
	c.own.used[key] = c.now()
	c.own.mu.Unlock()
	if !known {
		for _, h := range c.hosts {
			h.own.poke()
		}
	}
}

// sweepOwn forgets the queues that have had no channel for longer than a message
// may stay there. What is sent to them from then on expires at Redis, and is
// counted by who sent it.
func (c *Core) sweepOwn(now int64) {
	live := map[string]struct{}{}
	for channel := range c.process.Mailboxes().Channels() {
		live[layer.ClientPrefix(channel)] = struct{}{}
	}
	c.own.mu.Lock()
	defer c.own.mu.Unlock()
	for prefix := range live {
		key := c.options.Prefix + prefix
		if _, known := c.own.used[key]; known { // or openOwn is about to tell the readers
			c.own.used[key] = now
		}
	}
	for key, at := range c.own.used {
		if now-at > int64(c.options.Expiry+queueGrace) {
			delete(c.own.used, key)
		}
	}
}
