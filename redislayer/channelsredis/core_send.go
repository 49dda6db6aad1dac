package channelsredis

import (
	"context"
	"sync"

	"github.com/channellayer/channellayer/layer"
)

// Send implements [layer.Layer]. To a channel of this process it needs no
// Redis. Otherwise it returns once Redis has the message in the queue of the
// channel, or of the process that owns it; that a process is gone cannot be
// told from it.
func (c *Core) Send(ctx context.Context, channel string, msg layer.Message) error {
	if err := c.checkSend(ctx, msg); err != nil {
		return err
	}
	o := &op{what: opSend, name: channel}
	var to *host
	var address any
	if layer.IsProcessSpecific(channel) {
		if c.process.Owns(channel) {
			return c.sendOwn(channel, msg)
		}
		queue := layer.ClientPrefix(channel)
		o.key, to, address = c.options.Prefix+queue, c.hostOf(queue), channel
	}
	if err := layer.ValidateChannel(channel); err != nil {
		return err
	}
	if to == nil {
		o.key, to = c.options.Prefix+channel, c.hosts[c.sentTo.next(channel, len(c.hosts))]
	}
	var err error
	if o.body, err = c.encode(msg, address); err != nil {
		return layer.NotSent(err)
	}
	o.capacity = c.process.Limits().CapacityFor(channel)
	if err := to.do(ctx, o); err != nil {
		return err
	}
	c.process.CountSend(channel)
	return nil
}

func (c *Core) sendOwn(channel string, msg layer.Message) error {
	err := c.checkFormat(msg)
	if err == nil {
		err = c.process.Mailboxes().Put(channel, msg)
	}
	if err == nil {
		c.process.CountSend(channel)
	}
	return err
}

// turns is which host the next message to a normal channel goes to. As with
// channels_redis, all get some, since a reader there waits at one host until
// something comes; here, each channel goes round by itself.
type turns struct {
	mu sync.Mutex
	m  map[string]int
}

// maxTurns bounds how many channels are remembered.
const maxTurns = 10_000

func (t *turns) next(channel string, n int) int {
	if n == 1 {
		return 0
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.m) >= maxTurns {
		clear(t.m)
	}
	turn := t.m[channel]
	t.m[channel] = (turn + 1) % n
	return turn
}
