package channelsredis

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
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

// pubsubNotices give the messages of OnDisconnect and OnReconnect to every
// process-specific channel here. One goroutine does it.
//
// The notice of a reconnection has a place of its own in each mailbox, so that
// it comes even where the mailbox is full: whoever gets it looks at the state of
// things anew. The notice of a disconnection is a message like others.
type pubsubNotices struct {
	l                *PubSub
	lost, again      chan struct{} // have room for one: several are one
	onLost, onReturn layer.Message // empty if not wanted
}

func newPubSubNotices(l *PubSub) *pubsubNotices {
	return &pubsubNotices{
		l: l, lost: make(chan struct{}, 1), again: make(chan struct{}, 1),
		onLost: typed(l.options.OnDisconnect), onReturn: typed(l.options.OnReconnect),
	}
}

func typed(kind string) layer.Message {
	if kind == "" {
		return layer.Message{}
	}
	return layer.NewMessage(map[string]any{"type": kind})
}

func (n *pubsubNotices) tell(again bool) {
	if again {
		nudge(n.again)
	} else {
		nudge(n.lost)
	}
}

func (n *pubsubNotices) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-n.lost:
			n.disconnected()
			continue
		default:
		}
		select {
		case <-ctx.Done():
			return
		case <-n.lost:
			n.disconnected()
		case <-n.again:
			n.reconnected(ctx)
		}
	}
}

func (n *pubsubNotices) disconnected() {
	if n.onLost.Len() == 0 {
		return
	}
	for channel := range n.l.mailboxes.Channels() {
		n.l.taken(channel, n.l.mailboxes.Put(channel, n.onLost))
	}
}

// Clients that all ask for the state of things at once are a load of their own:
// 1,000 channels are told a second, and more where they would take longer than
// noticeSpread.
const (
	noticeEach   = time.Millisecond
	noticeSpread = 5 * time.Second
)

func (n *pubsubNotices) reconnected(ctx context.Context) {
	if n.onReturn.Len() == 0 {
		return
	}
	channels := slices.Collect(n.l.mailboxes.Channels())
	rand.Shuffle(len(channels), func(i, j int) { channels[i], channels[j] = channels[j], channels[i] })
	each := min(noticeEach, noticeSpread/time.Duration(max(1, len(channels))))
	begun := time.Now()
	wait := time.NewTimer(0)
	defer wait.Stop()
	for i, channel := range channels {
		if ahead := time.Duration(i)*each - time.Since(begun); ahead > time.Millisecond {
			wait.Reset(ahead)
			select {
			case <-wait.C:
			case <-ctx.Done():
				return
			}
		}
		n.l.mailboxes.Notify(channel, n.onReturn)
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

// joinCause tells a cause without being one: a connection's deadline is not the
// caller's.
func joinCause(cause, err error) error { return fmt.Errorf("%s: %w", cause, err) }
