package channelsredis

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/channellayer/channellayer/layer"
)

// normals are the receivers of normal channels that wait in this process, in
// the order in which they came. A message is taken at Redis only for a receiver
// that waits. If that one has gone away meanwhile, the next here gets the
// message, or it goes back to the head of its queue.
type normals struct {
	c        *Core
	received atomic.Uint64 // messages that receive returned

	mu     sync.Mutex
	closed bool
	m      map[string][]*normalWaiter
}

type normalWaiter struct{ ready chan layer.Message } // has room for one; closed with the layer

func newNormals(c *Core) *normals { return &normals{c: c, m: map[string][]*normalWaiter{}} }

// receive waits for a message. One that comes together with the end of ctx is
// returned.
func (n *normals) receive(ctx context.Context, channel string) (layer.Message, error) {
	w := &normalWaiter{make(chan layer.Message, 1)}
	n.mu.Lock()
	if n.closed {
		n.mu.Unlock()
		return layer.Message{}, layer.ErrClosed
	}
	n.m[channel] = append(n.m[channel], w)
	n.mu.Unlock()
	key := n.c.options.Prefix + channel
	for _, h := range n.c.hosts {
		if !h.normal.lists(key) {
			h.normal.poke()
		}
	}
	select {
	case msg, ok := <-w.ready:
		return n.returned(msg, ok)
	case <-ctx.Done():
	}
	n.mu.Lock()
	i := slices.Index(n.m[channel], w)
	if i < 0 { // it was handed a message, or the layer closes
		n.mu.Unlock()
		msg, ok := <-w.ready
		return n.returned(msg, ok)
	}
	last := n.removeLocked(channel, i)
	n.mu.Unlock()
	if last {
		for _, h := range n.c.hosts {
			if h.normal.lists(key) {
				h.normal.poke()
			}
		}
	}
	return layer.Message{}, ctx.Err()
}

// returned is what receive returns of what came: nothing if the layer was closed.
func (n *normals) returned(msg layer.Message, ok bool) (layer.Message, error) {
	if !ok {
		return msg, layer.ErrClosed
	}
	n.received.Add(1)
	return msg, nil
}

// removeLocked removes one receiver, and reports whether it was the channel's
// last.
func (n *normals) removeLocked(channel string, i int) bool {
	n.m[channel] = slices.Delete(n.m[channel], i, i+1)
	if len(n.m[channel]) > 0 {
		return false
	}
	delete(n.m, channel)
	return true
}

// handOver gives the message to the receiver that has waited longest. It
// reports false if none waits.
func (n *normals) handOver(channel string, msg layer.Message) bool {
	n.mu.Lock()
	waiters := n.m[channel]
	if len(waiters) == 0 {
		n.mu.Unlock()
		return false
	}
	w := waiters[0]
	n.removeLocked(channel, 0)
	n.mu.Unlock()
	w.ready <- msg
	return true
}

// want returns the queues that somebody waits for, and how many wait for the
// one that fewest wait for: so many may be taken from any.
func (n *normals) want() (keys []string, count int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for channel, waiters := range n.m {
		keys = append(keys, n.c.options.Prefix+channel)
		if count == 0 || len(waiters) < count {
			count = len(waiters)
		}
	}
	return keys, min(count, maxPop)
}

// take hands over what was taken from a normal channel's queue.
func (n *normals) take(w *writer, key string, got []entry) (back []entry) {
	channel := n.c.channelOf(key)
	for i, e := range got {
		msg, _, ok := n.c.read(w, channel, e)
		if ok && !n.handOver(channel, msg) {
			return got[i:] // with those behind it, so that order is kept
		}
	}
	return nil
}

// close wakes every receiver.
func (n *normals) close() {
	n.mu.Lock()
	n.closed = true
	waiting := n.m
	n.m = map[string][]*normalWaiter{}
	n.mu.Unlock()
	for _, waiters := range waiting {
		for _, w := range waiters {
			close(w.ready)
		}
	}
}
