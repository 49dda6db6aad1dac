package redislayer

import (
	"context"
	"strings"
	"sync"

	"github.com/redis/go-redis/v9"
)

// Flush implements [layer.Flusher]. It makes connections of its own, and finds
// the other processes by their keys.
func (l *Layer) Flush(ctx context.Context) error {
	if err := l.process.Check(ctx); err != nil {
		return err
	}
	l.flushOwn()
	nodes := []source{l.session.source}
	if l.cluster != nil {
		nodes = l.cluster.sources()
	}
	var processes []string
	for _, node := range nodes {
		found, err := l.flushNode(ctx, node)
		if err != nil {
			return unavailable(err)
		}
		processes = append(processes, found...)
	}
	var asked sync.WaitGroup
	var own error
	for _, process := range processes {
		asked.Go(func() {
			// This process too: what is on its way to it comes before. One that
			// is gone, or does not answer, has nothing to flush.
			if err := l.requests.ask(ctx, process, request{what: askFlush}); process == l.name {
				own = err
			}
		})
	}
	asked.Wait()
	if err := ctx.Err(); err != nil {
		return err
	}
	return own
}

// flushNode empties the queues and groups of one server, and returns the
// processes that it has inboxes of.
func (l *Layer) flushNode(ctx context.Context, node source) (processes []string, err error) {
	c, err := node.connect(ctx, l.options.Timeout, l.options.Timeout)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	for _, pattern := range l.keys.unread() {
		if err := deleteKeys(ctx, c, pattern); err != nil {
			return nil, err
		}
	}
	leases := c.Scan(ctx, 0, l.keys.leases()+"*", 1000).Iterator()
	for leases.Next(ctx) {
		processes = append(processes, strings.Trim(strings.TrimPrefix(leases.Val(), l.keys.leases()), "{}"))
	}
	return processes, leases.Err()
}

// flushOwn empties what this process holds. Receivers that wait go on waiting.
func (l *Layer) flushOwn() {
	l.process.Groups().Clear()
	l.process.Adopted().Clear()
	l.session.forgetGroups()
	l.process.Mailboxes().Clear()
	l.queues.tellAll()
	if l.cluster != nil {
		l.cluster.lines.tellAll()
	}
}

// forgetGroups forgets what is registered: Redis has forgotten it.
func (s *session) forgetGroups() {
	s.mu.Lock()
	clear(s.registered)
	clear(s.dirty)
	s.mu.Unlock()
}

func deleteKeys(ctx context.Context, c *conn, pattern string) error {
	keys := c.Scan(ctx, 0, pattern, 1000).Iterator()
	var found []string
	for keys.Next(ctx) {
		found = append(found, keys.Val())
	}
	if err := keys.Err(); err != nil || len(found) == 0 {
		return err
	}
	_, err := c.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, key := range found {
			p.Unlink(ctx, key)
		}
		return nil
	})
	return err
}
