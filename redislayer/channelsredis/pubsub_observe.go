package channelsredis

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/redislayer/channelsredis/internal/redisconn"
)

// Stats implements [layer.Statser].
func (l *PubSub) Stats() layer.Stats { return l.process.Stats() }

// pubsubNews tells the observer, on a goroutine of its own: what it calls may
// wait for what the goroutine that met the event has yet to read, and some events
// are met under locks of this layer. While a call takes its time, what else
// happens is kept in sums, so that it takes no more memory the longer it takes.
type pubsubNews struct {
	dropped func(layer.DropReason, string, int) // the observer's; nil if it has none
	wake    chan struct{}                       // has room for one

	mu      sync.Mutex
	drops   map[pubsubDrop]int // messages
	changes []pubsubChange     // the last of each kind of each host, in order
}

// maxNamedNews bounds the names in pubsubNews.drops: some 2 MB. It is also how
// many members of a group may turn out to be full at once, each of them told.
const maxNamedNews = 10_000

type pubsubDrop struct {
	reason layer.DropReason
	name   string
}

// pubsubChange is that a host's subscriptions were lost, or are there again.
type pubsubChange struct {
	host     *pubsubHost
	from, to time.Time // the gap; zero where they were lost
}

func (n *pubsubNews) drop(reason layer.DropReason, name string, count int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	of := pubsubDrop{reason, name}
	if _, ok := n.drops[of]; !ok && len(n.drops) >= maxNamedNews {
		of.name = ""
	}
	if n.drops == nil {
		n.drops = make(map[pubsubDrop]int)
	}
	n.drops[of] += count
	nudge(n.wake)
}

func (n *pubsubNews) change(c pubsubChange) {
	n.mu.Lock()
	defer n.mu.Unlock()
	before := slices.IndexFunc(n.changes, func(b pubsubChange) bool { return b.host == c.host && b.from.IsZero() == c.from.IsZero() })
	if before >= 0 {
		c.from = n.changes[before].from // one gap, or none
		n.changes = slices.Delete(n.changes, before, before+1)
	}
	n.changes = append(n.changes, c)
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
		drops, changes := n.drops, n.changes
		n.drops, n.changes = nil, nil
		n.mu.Unlock()
		if len(drops)+len(changes) == 0 {
			return
		}
		for of, count := range drops {
			n.dropped(of.reason, of.name, count)
		}
		for _, c := range changes {
			c.host.l.tell(c)
		}
	}
}

// disconnected is told that a host's subscriptions are lost.
func (l *PubSub) disconnected(h *pubsubHost, err error) {
	l.log.Warn("subscriptions lost", "host", h.index, "error", err)
	l.news.change(pubsubChange{host: h})
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
	l.news.change(pubsubChange{host: h, from: lost, to: now})
}

func (l *PubSub) tell(c pubsubChange) {
	if !c.from.IsZero() {
		l.process.Gap(c.from, c.to, fmt.Sprintf("the connection to host %d was lost", c.host.index))
	} else if notice := typed(l.options.OnDisconnect); notice.Len() > 0 {
		for channel := range l.process.Mailboxes().Channels() {
			l.process.Put(channel, notice, 0)
		}
	}
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
