package channelsredis

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/redislayer/channelsredis/internal/redisconn"
)

// pubsubCounters are what the mailboxes do not count.
type pubsubCounters struct {
	sent, groupSent, gaps atomic.Uint64
	dropped               [len(layer.Drops{})]atomic.Uint64
	undecodableToldAt     atomic.Int64 // in nanoseconds
}

// undecodableInterval is how often the log is told of messages that cannot be
// read: with a wrong key that is all of them.
const undecodableInterval = 10 * time.Second

// Stats implements [layer.Statser].
func (l *PubSub) Stats() layer.Stats {
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

func (l *PubSub) drop(reason layer.DropReason, name string, count int) {
	l.counters.dropped[reason].Add(uint64(count))
	if l.options.Observer.Dropped != nil {
		l.news.add(pubsubEvent{reason: reason, name: name, count: count})
	}
}

// pubsubNews tells the observer, on a goroutine of its own: what it calls may
// wait for what the goroutine that met the event has yet to read.
type pubsubNews struct {
	observer layer.Observer
	wake     chan struct{} // has room for one

	mu     sync.Mutex
	events []pubsubEvent
}

// pubsubEvent is drops, or a gap.
type pubsubEvent struct {
	reason layer.DropReason
	name   string
	count  int // 0 for a gap

	from, to time.Time
	why      string
}

func (n *pubsubNews) add(e pubsubEvent) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if i := len(n.events) - 1; i >= 0 && e.count > 0 && n.events[i].count > 0 && n.events[i].reason == e.reason && n.events[i].name == e.name {
		n.events[i].count += e.count
		return
	}
	n.events = append(n.events, e)
	nudge(n.wake)
}

func (n *pubsubNews) run(ctx context.Context) {
	for {
		select {
		case <-n.wake:
			n.tell()
		case <-ctx.Done():
			return
		}
	}
}

// tell tells what there is.
func (n *pubsubNews) tell() {
	for {
		n.mu.Lock()
		events := n.events
		n.events = nil
		n.mu.Unlock()
		if len(events) == 0 {
			return
		}
		for _, e := range events {
			if e.count > 0 {
				n.observer.Dropped(e.reason, e.name, e.count)
			} else {
				n.observer.Gap(e.from, e.to, e.why)
			}
		}
	}
}

func (l *PubSub) undecodable(name string, err error) {
	now, told := time.Now().UnixNano(), l.counters.undecodableToldAt.Load()
	if now-told > int64(undecodableInterval) && l.counters.undecodableToldAt.CompareAndSwap(told, now) {
		l.log.Warn("a message cannot be read", "error", err)
	}
	l.drop(layer.DropUndecodable, name, 1)
}

// disconnected is told that a host's subscriptions are lost.
func (l *PubSub) disconnected(h *pubsubHost, err error) {
	l.log.Warn("subscriptions lost", "host", h.index, "error", err)
	l.notices.tell(false)
	h.pub.poke()
}

// subscribed is told that a host's subscriptions are there, again if lost is
// not zero: it is since when messages may have been lost.
func (l *PubSub) subscribed(h *pubsubHost, lost time.Time) {
	if lost.IsZero() {
		return
	}
	now := time.Now()
	l.counters.gaps.Add(1)
	l.log.Warn("subscribed again; messages may have been lost", "host", h.index, "from", lost, "to", now)
	if l.options.Observer.Gap != nil {
		l.news.add(pubsubEvent{from: lost, to: now, why: fmt.Sprintf("the connection to host %d was lost", h.index)})
	}
	l.notices.tell(true)
}

// ping makes a round trip from this process to itself.
func (h *pubsubHost) ping(ctx context.Context) error {
	if live, cause := h.sub.connected(); !live {
		return redisconn.Unavailable(cause)
	}
	return h.echo(ctx)
}

// setupError is an error that does not go away by trying again, or nil.
func setupError(cause error) error {
	var setup *redisconn.SetupError
	if cause != nil && errors.As(redisconn.Explain(cause), &setup) {
		return setup
	}
	return nil
}

// joinCause tells a cause without being one: a connection's deadline is not the
// caller's.
func joinCause(cause, err error) error { return fmt.Errorf("%s: %w", cause, err) }
