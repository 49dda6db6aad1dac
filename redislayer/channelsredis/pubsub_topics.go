package channelsredis

import (
	"context"
	"fmt"
	"time"

	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/redislayer/channelsredis/internal/redisconn"
	"github.com/channellayer/channellayer/redislayer/internal/link"
)

// topic is a subscription that there should be.
type topic struct {
	name    string
	pattern bool

	ready chan struct{} // closed when it is confirmed or refused; another after the connection was lost
	err   error         // why it was refused; good once ready is closed
	heard bool          // it was confirmed at some time
	lost  time.Time     // if not zero: it was refused after a loss, since when nothing was heard
}

// subscribe makes a subscription exist, and returns what to wait for. It does
// not block.
func (s *subscriber) subscribe(name string, pattern bool) *topic {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.topics[name]
	if t != nil && !t.refused() {
		return t
	}
	if t == nil {
		t = &topic{name: name, pattern: pattern}
	}
	return s.askLocked(t)
}

// askLocked asks the server for a subscription, again if it was refused: who
// waited for that answer has a topic of its own.
func (s *subscriber) askLocked(refused *topic) *topic {
	t := &topic{name: refused.name, pattern: refused.pattern, heard: refused.heard, lost: refused.lost, ready: make(chan struct{})}
	s.topics[t.name] = t
	s.commandLocked(command{topic: t})
	return t
}

// askAgain asks for what the server has refused for a while, as it does while a
// script runs too long. What it refuses for want of a right is left to whoever
// uses it next.
func (s *subscriber) askAgain() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.again || s.conn == nil {
		return
	}
	s.again = false
	for _, t := range s.topics {
		if t.refused() && setupError(t.err) == nil {
			s.askLocked(t)
		}
	}
}

// refused reports whether the server has refused it, by now.
func (t *topic) refused() bool {
	select {
	case <-t.ready:
		return t.err != nil
	default:
		return false
	}
}

// unsubscribe ends a subscription. It does not block.
func (s *subscriber) unsubscribe(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t := s.topics[name]; t != nil {
		delete(s.topics, name)
		s.commandLocked(command{topic: t, leave: true})
	}
}

func (s *subscriber) commandLocked(c command) {
	if s.conn != nil {
		s.commands = append(s.commands, c)
		nudge(s.wake)
	}
}

// wait waits until the subscription is confirmed, at most for the layer's
// timeout. Otherwise the error says why it is not.
func (s *subscriber) wait(ctx context.Context, t *topic) error {
	s.mu.Lock()
	ready := t.ready
	s.mu.Unlock()
	limit := time.NewTimer(s.h.l.options.Timeout)
	defer limit.Stop()
	select {
	case <-ready:
	case <-ctx.Done():
		return ctx.Err()
	case <-limit.C:
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-t.ready:
		if t.err == nil {
			return nil
		}
		return redisconn.Unavailable(t.err)
	default: // or it was lost again
		return redisconn.Unavailable(s.down)
	}
}

// confirmedNow reports whether there is a subscription, which is confirmed.
func (s *subscriber) confirmedNow(name []byte) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.topics[string(name)]
	if t == nil {
		return false
	}
	select {
	case <-t.ready:
		return true
	default:
		return false
	}
}

// answered is told the server's answer to the oldest command.
func (s *subscriber) answered(p push) error {
	s.mu.Lock()
	if len(s.asked) == 0 {
		s.mu.Unlock()
		if p.err != nil {
			return p.err // the server ends the connection
		}
		return fmt.Errorf("%w: a %.40q that nobody asked for", errProtocol, p.kind)
	}
	c := s.asked[0]
	s.asked[0] = command{}
	s.asked = s.asked[1:]
	if c.topic != nil {
		return s.confirmedLocked(c, p.err)
	}
	s.mu.Unlock()
	switch {
	case p.err == nil && !s.proved(string(p.payload)):
		return errDeaf
	case p.err != nil && !link.CertainlyNotRun(p.err):
		return p.err
	}
	return nil // a server that refuses a PING for now has proved nothing, nor failed
}

// confirmedLocked is told the server's answer to a subscription. It unlocks.
func (s *subscriber) confirmedLocked(c command, refusal error) error {
	var since []time.Time // of losses that are over
	if !c.leave {
		c.topic.err = refusal
		close(c.topic.ready)
		switch {
		case refusal == nil:
			if c.topic.heard = true; !c.topic.lost.IsZero() {
				since = append(since, c.topic.lost)
				c.topic.lost = time.Time{}
			}
		case c.topic.heard && c.topic.lost.IsZero():
			c.topic.lost = s.complete
		}
		s.again = s.again || refusal != nil
	}
	if refusal != nil && c.topic.pattern {
		s.mu.Unlock()
		return refusal // nothing works without it
	}
	if c.first {
		since = append(since, s.complete)
		s.live, s.complete = true, time.Now()
	}
	s.mu.Unlock()
	if c.first {
		s.attempted()
	}
	for _, lost := range since {
		s.h.l.subscribed(s.h, lost)
	}
	return nil
}

// hear subscribes to a pattern and waits until that is confirmed, at most for
// the layer's timeout. It does not wait for a server that is known to be away: the
// subscription is made when that is back.
func (s *subscriber) hear(ctx context.Context, pattern string) error {
	t := s.subscribe(pattern, true)
	var limit *time.Timer // most often there is no wait
	for _, done := range []func() <-chan struct{}{
		func() <-chan struct{} { return s.first },
		func() <-chan struct{} { return s.confirmation(t) },
	} {
		c := done()
		select {
		case <-c:
			continue
		default:
		}
		if limit == nil {
			limit = time.NewTimer(s.h.l.options.Timeout)
			defer limit.Stop()
		}
		select {
		case <-c:
		case <-limit.C:
			return nil
		case <-s.h.l.ended:
			return layer.ErrClosed
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// closedChan is what there is no need to wait for.
var closedChan = func() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

// confirmation is closed when the subscription is confirmed, or the server is
// away.
func (s *subscriber) confirmation(t *topic) <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn == nil {
		return closedChan
	}
	return t.ready
}
