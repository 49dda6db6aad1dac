package natslayer

import (
	"context"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/channellayer/channellayer/layer"
)

// interest is what a subscription is for. Subjects are the prefix, what, name
// and, for a process, what it is told.
type interest struct {
	what  string // process, all, group, held, want
	name  string
	queue string // in NATS's sense; "" for none
}

type subscription struct {
	*nats.Subscription
	confirmed atomic.Bool // the server is known to have it
	dropped   int         // by the client, as far as reported; guarded by the layer's mu
}

// token makes one token of a name: its dots would be token separators, and
// NATS refuses two of them side by side. No name has a '~'.
func token(name string) string    { return strings.ReplaceAll(name, ".", "~") }
func untoken(token string) string { return strings.ReplaceAll(token, "~", ".") }

func (l *Layer) subject(what, name string) string {
	return l.options.Prefix + "." + what + "." + token(name)
}

// toProcess is where a process is told something about a channel.
func (l *Layer) toProcess(process, what, channel string) string {
	return l.subject("process", process) + "." + what + "." + token(channel)
}

// connect connects, with what the contract needs: no late sends (whatever is
// published while the server is away fails), no echo (own members are served
// from memory), writes that end, and reconnecting for ever.
func (l *Layer) connect(ctx context.Context, url string) (err error) {
	wait := l.options.Timeout
	if deadline, ok := ctx.Deadline(); ok {
		wait = min(wait, time.Until(deadline))
	}
	l.alive.Store(time.Now().UnixNano())
	l.conn, err = nats.Connect(url, append(l.options.NATS,
		nats.ReconnectBufSize(-1), nats.NoEcho(), nats.MaxReconnects(-1), nats.IgnoreAuthErrorAbort(),
		nats.ReconnectWait(100*time.Millisecond), nats.ReconnectJitter(100*time.Millisecond, time.Second),
		nats.Timeout(wait), nats.FlusherTimeout(l.options.Timeout), nats.DrainTimeout(l.options.Timeout),
		nats.ReconnectHandler(func(*nats.Conn) { l.reconnected() }),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}), // what is dropped is counted by keepHouse
		nats.ClosedHandler(func(*nats.Conn) { close(l.ended) }))...)
	return err
}

// reconnected reports the gap, once the server has the subscriptions again.
// nats.go calls it in order, from a goroutine of its own.
func (l *Layer) reconnected() {
	from := time.Unix(0, l.alive.Load())
	if l.conn.FlushTimeout(l.options.Timeout) != nil {
		l.conn.ForceReconnect() // and then again; it does nothing to one that was closed
	} else {
		l.gap(from, time.Now(), "the connection to NATS was lost")
	}
	l.reconnects.Add(1)
}

func (l *Layer) flush(ctx context.Context) error {
	bounded, cancel := context.WithTimeout(ctx, l.options.Timeout)
	defer cancel()
	return l.problem(ctx, l.conn.FlushWithContext(bounded))
}

func (l *Layer) subscribe(i interest) (*subscription, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.subscribeLocked(i)
}

func (l *Layer) subscribeLocked(i interest) (*subscription, error) {
	if s := l.subs[i]; s != nil {
		return s, nil
	}
	subject := l.subject(i.what, i.name)
	if i.what == "process" {
		subject += ".>"
	}
	s, err := l.conn.ChanQueueSubscribe(subject, i.queue, l.in)
	if err != nil {
		return nil, err
	}
	l.subs[i] = &subscription{Subscription: s}
	return l.subs[i], nil
}

func (l *Layer) unsubscribeLocked(i interest) {
	if s := l.subs[i]; s != nil {
		l.lost += l.droppedLocked(s)
		s.Unsubscribe() // an error means that the connection is closed
		delete(l.subs, i)
	}
}

// droppedLocked is how many messages the client has dropped since it was last
// called, since l.in was full.
func (l *Layer) droppedLocked(s *subscription) int {
	all, err := s.Dropped()
	if err != nil {
		return 0
	}
	n := all - s.dropped
	s.dropped = all
	return n
}

// houseEvery is how often the layer makes sure that the server is there, and
// heals what a lost message may have left behind.
const houseEvery = time.Second

func (l *Layer) keepHouse() {
	ticker := time.NewTicker(houseEvery)
	defer ticker.Stop()
	for tick := 1; ; tick++ {
		began := time.Now()
		reconnects := l.reconnects.Load()
		select {
		case <-ticker.C:
		case <-l.ended:
			return
		}
		if tick%60 == 0 {
			l.sweepGroups()
		}
		l.endExpired()
		l.reportSlow(began)
		l.healNormal()
		switch asked := time.Now(); {
		case l.conn.FlushTimeout(l.options.Timeout) == nil:
			// A reconnect that is not reported yet needs the older time.
			if l.conn.Stats().Reconnects == reconnects {
				l.alive.Store(asked.UnixNano())
			}
		case l.conn.IsConnected() && !l.closed.Load():
			l.conn.ForceReconnect()
		}
	}
}

// reportSlow reports what this process was too slow for.
func (l *Layer) reportSlow(since time.Time) {
	l.mu.Lock()
	n := l.lost
	l.lost = 0
	for _, s := range l.subs {
		n += l.droppedLocked(s)
	}
	l.mu.Unlock()
	if n > 0 {
		l.drop(layer.DropFull, "", n)
		l.gap(since, time.Now(), "messages came faster than this process put them into mailboxes")
	}
}

// counters are what the mailboxes do not count.
type counters struct {
	sent, groupSent, gaps atomic.Uint64
	dropped               [len(layer.Drops{})]atomic.Uint64

	alive      atomic.Int64  // when the server was last known to be there
	reconnects atomic.Uint64 // reported
	lost       int           // dropped by the client for subscriptions that ended since; guarded by the layer's mu
}

// Stats implements [layer.Statser].
func (l *Layer) Stats() layer.Stats {
	boxes := l.mailboxes.Stats()
	stats := layer.Stats{Sent: l.sent.Load(), GroupSent: l.groupSent.Load(), Received: boxes.Received,
		Abandoned: boxes.Abandoned, Gaps: l.gaps.Load(), Dropped: boxes.Dropped}
	for reason := range l.dropped {
		stats.Dropped[reason] += l.dropped[reason].Load()
	}
	return stats
}

func (l *Layer) drop(reason layer.DropReason, name string, count int) {
	l.dropped[reason].Add(uint64(count))
	if l.options.Observer.Dropped != nil {
		l.options.Observer.Dropped(reason, name, count)
	}
}

func (l *Layer) gap(from, to time.Time, reason string) {
	l.gaps.Add(1)
	if l.options.Observer.Gap != nil {
		l.options.Observer.Gap(from, to, reason)
	}
	if l.options.GapMessage.Len() > 0 {
		for channel := range l.mailboxes.Channels() {
			l.mailboxes.Notify(channel, l.options.GapMessage)
		}
	}
}
