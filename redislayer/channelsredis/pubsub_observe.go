package channelsredis

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/redislayer/channelsredis/internal/redisconn"
)

// Stats implements [layer.Statser].
func (l *PubSub) Stats() layer.Stats { return l.process.Stats() }

// pubsubNews tells the observer, on a goroutine of its own: what it calls may
// wait for what the goroutine that met the event has yet to read, and some events
// are met under locks of this layer.
type pubsubNews struct {
	dropped func(layer.DropReason, string, int) // the observer's; nil if it has none
	wake    chan struct{}                       // has room for one

	mu     sync.Mutex
	events []pubsubEvent
}

// pubsubEvent is drops, or what else there is to do.
type pubsubEvent struct {
	reason layer.DropReason
	name   string
	count  int

	do func() // nil for drops
}

func (n *pubsubNews) drop(reason layer.DropReason, name string, count int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if i := len(n.events) - 1; i >= 0 && n.events[i].do == nil && n.events[i].reason == reason && n.events[i].name == name {
		n.events[i].count += count
		return
	}
	n.addLocked(pubsubEvent{reason: reason, name: name, count: count})
}

// later has something done after what was added before.
func (n *pubsubNews) later(do func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.addLocked(pubsubEvent{do: do})
}

func (n *pubsubNews) addLocked(e pubsubEvent) {
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
			if e.do != nil {
				e.do()
			} else {
				n.dropped(e.reason, e.name, e.count)
			}
		}
	}
}

// disconnected is told that a host's subscriptions are lost.
func (l *PubSub) disconnected(h *pubsubHost, err error) {
	l.log.Warn("subscriptions lost", "host", h.index, "error", err)
	if notice := typed(l.options.OnDisconnect); notice.Len() > 0 {
		l.news.later(func() {
			for channel := range l.process.Mailboxes().Channels() {
				l.process.Put(channel, notice, 0)
			}
		})
	}
	h.pub.poke()
}

// subscribed is told that a host's subscriptions are there, again if lost is
// not zero: it is since when messages may have been lost.
func (l *PubSub) subscribed(h *pubsubHost, lost time.Time) {
	if lost.IsZero() {
		return
	}
	now := time.Now()
	l.log.Warn("subscribed again; messages may have been lost", "host", h.index, "from", lost, "to", now)
	l.news.later(func() { l.process.Gap(lost, now, fmt.Sprintf("the connection to host %d was lost", h.index)) })
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
