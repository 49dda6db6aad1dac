package natslayer

import (
	"context"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/channellayer/channellayer/layer"
)

type subscription struct {
	*nats.Subscription
	needed    func() bool
	confirmed atomic.Bool // the server is known to have it
}

// token makes one token of a name: its dots would be token separators, and
// NATS refuses two of them side by side. No name has a '~'.
func token(name string) string    { return strings.ReplaceAll(name, ".", "~") }
func untoken(token string) string { return strings.ReplaceAll(token, "~", ".") }

// Subjects are the prefix, what they are for (process, all, group, or a role in
// normal channels), a name and, for a process, what it is told.
func (l *Layer) subject(what, name string) string {
	return l.options.Prefix + "." + what + "." + token(name)
}

func (l *Layer) parse(subject string) (what, name string) {
	what, rest, _ := strings.Cut(strings.TrimPrefix(subject, l.options.Prefix+"."), ".")
	return what, untoken(rest)
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
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))...) // what is dropped is counted by keepHouse
	return err
}

// reconnected reports the gap, once the server has the subscriptions again.
// nats.go calls it in order, from a goroutine of its own.
func (l *Layer) reconnected(conn *nats.Conn) {
	from := time.Unix(0, l.alive.Load())
	if conn.FlushTimeout(l.options.Timeout) != nil {
		conn.ForceReconnect() // and then again; it does nothing to one that was closed
	} else {
		l.process.Gap(from, time.Now(), "the connection to NATS was lost")
	}
	l.reconnects.Add(1)
}

func (l *Layer) flush(ctx context.Context) error {
	bounded, cancel := context.WithTimeout(ctx, l.options.Timeout)
	defer cancel()
	return l.problem(ctx, l.conn.FlushWithContext(bounded))
}

func always() bool { return true }

// subscribe subscribes, or unsubscribes, if that is needed. Whoever changes what
// is needed calls it afterwards, so the last to have the lock leaves it right.
// It returns the subscription that there is then, or nil.
func (l *Layer) subscribe(subject, queue string, needed func() bool) (*subscription, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.subs[[2]string{subject, queue}]
	switch is := needed(); {
	case is && s == nil:
		made, err := l.conn.ChanQueueSubscribe(subject, queue, l.in)
		if err != nil {
			return nil, err
		}
		l.subs[[2]string{subject, queue}] = &subscription{Subscription: made, needed: needed}
	case !is && s != nil:
		l.lost -= s.droppedSoFar()
		s.Unsubscribe() // an error means that the connection is closed
		delete(l.subs, [2]string{subject, queue})
	}
	return l.subs[[2]string{subject, queue}], nil
}

// droppedSoFar is how many messages nats.go has dropped, since l.in was full.
func (s *subscription) droppedSoFar() int {
	n, _ := s.Dropped()
	return max(0, n)
}

// keepHouse makes sure every second that the server is there, and heals what a
// lost message may have left behind.
func (l *Layer) keepHouse() {
	tick := time.Tick(time.Second)
	for {
		began, reconnects := time.Now(), l.reconnects.Load()
		select {
		case <-tick:
		case <-l.done:
			return
		}
		l.lookAtSubscriptions(began)
		l.normal.Heal()
		switch asked := time.Now(); {
		case l.conn.FlushTimeout(l.options.Timeout) == nil:
			// A reconnect that is not reported yet needs the older time.
			if l.conn.Stats().Reconnects == reconnects {
				l.alive.Store(asked.UnixNano())
			}
		case l.conn.IsConnected() && l.process.Check(context.Background()) == nil:
			l.conn.ForceReconnect()
		}
	}
}

// lookAtSubscriptions reports what this process was too slow for, and ends those
// that nobody needs any more: channels end, and memberships expire.
func (l *Layer) lookAtSubscriptions(since time.Time) {
	var idle []*subscription
	l.mu.Lock()
	clear(l.gone)
	dropped := 0
	for _, s := range l.subs {
		dropped += s.droppedSoFar()
		if !s.needed() {
			idle = append(idle, s)
		}
	}
	n := dropped - l.lost
	l.lost = dropped
	l.mu.Unlock()
	for _, s := range idle {
		l.subscribe(s.Subject, s.Queue, s.needed)
	}
	if n > 0 {
		l.process.Drop(layer.DropFull, "", n)
		l.process.Gap(since, time.Now(), "messages came faster than this process put them into mailboxes")
	}
}
