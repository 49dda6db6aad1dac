package channelsredis

import (
	"context"
	"strings"

	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/redislayer/channelsredis/internal/redisconn"
)

// flushBatch is how many keys are looked at, and deleted, at once.
const flushBatch = 1000

// Flush implements [layer.Flusher], as far as the wire has it: it deletes every
// key that begins with the prefix, on every host, as channels_redis does, and
// drops what this process has in memory. What other processes have in memory
// stays. Keys of a bus whose prefix begins with this one's are deleted too.
func (c *Core) Flush(ctx context.Context) error {
	if err := c.process.Check(ctx); err != nil {
		return err
	}
	c.added.Clear()
	c.others.groups.Clear()
	for _, h := range c.hosts {
		if err := c.flushHost(ctx, h); err != nil {
			return redisconn.Unavailable(err)
		}
	}
	c.process.Mailboxes().Clear()
	return nil
}

func (c *Core) flushHost(ctx context.Context, h *host) error {
	conn, err := redisconn.Connect(ctx, h.settings, c.options.Timeout, c.options.Timeout)
	if err != nil {
		return err
	}
	defer conn.Close()
	pattern := globEscaper.Replace(c.options.Prefix) + "*"
	for cursor := uint64(0); ; {
		var keys []string
		if keys, cursor, err = conn.Scan(ctx, cursor, pattern, flushBatch).Result(); err != nil {
			return err
		}
		if err := c.deleteKeys(ctx, conn, keys); err != nil {
			return err
		}
		if cursor == 0 {
			return nil
		}
	}
}

var globEscaper = strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`)

// deleteKeys deletes keys, and counts the messages in those that are queues.
func (c *Core) deleteKeys(ctx context.Context, conn *redisconn.Conn, keys []string) error {
	var queues, rest []string
	for _, key := range keys {
		if strings.HasPrefix(key, c.groupKey("")) {
			rest = append(rest, key)
		} else {
			queues = append(queues, key)
		}
	}
	if len(rest) > 0 {
		if err := conn.Unlink(ctx, rest...).Err(); err != nil {
			return err
		}
	}
	for _, key := range queues {
		n, err := conn.Do(ctx, "EVAL", endScript.Source, 1, key).Int()
		if err != nil {
			return err
		}
		if n > 0 {
			c.process.Drop(layer.DropClosed, c.channelOf(key), n)
		}
	}
	return nil
}
