package channelsredis

import (
	"context"
	"errors"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/redislayer/channelsredis/internal/redisconn"
)

// subscriber holds the subscriptions of this process on one host, and reads
// what comes. Which there should be is in topics; a connection gets all of them
// when it is made, and changes as they come. The server confirms each in the
// order in which it was asked.
type subscriber struct {
	h *pubsubHost

	mu       sync.Mutex
	topics   map[string]*topic // by name
	conn     *pubsubConn       // nil while there is none
	commands []command         // to be written on conn
	asked    []command         // written and not confirmed, oldest first
	live     bool              // all that was asked when conn was made is confirmed
	down     error             // why the last attempt failed; nil before the first
	complete time.Time         // what was published before has been handed over; zero before the first
	waiting  []heard           // for echoes, oldest first
	seen     uint64            // the last echo
	wake     chan struct{}     // has room for one: there are commands
	first    chan struct{}     // closed when the first attempt to connect has ended
}

// topic is a subscription that there should be.
type topic struct {
	name    string
	pattern bool

	ready chan struct{} // closed when it is confirmed or refused; another after the connection was lost
	err   error         // why it was refused; good once ready is closed
}

// command is one to be written: SUBSCRIBE or UNSUBSCRIBE, or PING.
type command struct {
	topic *topic // nil for a PING
	leave bool
	ping  string
	first bool // the last of those that were there when the connection was made
}

// heard are messages whose senders wait for an echo.
type heard struct {
	sequence uint64
	since    time.Time
	messages []*publish
}

func newSubscriber(h *pubsubHost) *subscriber {
	return &subscriber{h: h, topics: map[string]*topic{}, wake: make(chan struct{}, 1), first: make(chan struct{})}
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
	t = &topic{name: name, pattern: pattern, ready: make(chan struct{})}
	s.topics[name] = t
	s.commandLocked(command{topic: t})
	return t
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

// run connects, and reads until the connection is lost, again and again.
func (s *subscriber) run(ctx context.Context) {
	backoff := minPubSubBackoff
	for ctx.Err() == nil {
		c, err := connectPubSub(ctx, s.h.settings, s.h.l.options.Timeout, probeInterval+2*s.h.l.options.Timeout, s.h.l.mostWire())
		if err == nil {
			err = s.serve(c)
			c.Close()
			if s.lost(ctx, err) {
				backoff = minPubSubBackoff
				continue
			}
		}
		s.mu.Lock()
		s.down = err
		s.mu.Unlock()
		s.attempted()
		wait := time.NewTimer(backoff/2 + rand.N(backoff))
		select {
		case <-wait.C:
		case <-ctx.Done():
		}
		wait.Stop()
		backoff = min(2*backoff, maxPubSubBackoff)
	}
}

// attempted tells that the first attempt to connect has ended.
func (s *subscriber) attempted() {
	select {
	case <-s.first:
	default:
		close(s.first)
	}
}

// serve asks for all topics and reads until the connection fails.
func (s *subscriber) serve(c *pubsubConn) error {
	s.mu.Lock()
	s.conn, s.down, s.seen = c, nil, 0
	s.commands, s.asked = nil, nil
	for _, t := range s.topics {
		s.commands = append(s.commands, command{topic: t})
	}
	s.commands[len(s.commands)-1].first = true // there is one at least: the process's own
	s.mu.Unlock()
	nudge(s.wake)
	stop := make(chan struct{})
	var writing sync.WaitGroup
	writing.Go(func() { s.writeCommands(c, stop) })
	err := s.read(c)
	close(stop)
	c.raw.Close() // ends a write
	writing.Wait()
	return err
}

// writeCommands writes them as they come. An error ends the reading, too.
func (s *subscriber) writeCommands(c *pubsubConn, stop chan struct{}) {
	var b []byte
	for {
		s.mu.Lock()
		commands := s.commands
		s.commands = nil
		for _, command := range commands {
			if command.topic != nil {
				s.asked = append(s.asked, command)
			}
		}
		s.mu.Unlock()
		b = b[:0]
		for _, command := range commands {
			b = command.append(b)
		}
		if len(b) > 0 {
			if err := c.write(b); err != nil {
				c.raw.Close()
				return
			}
		}
		if cap(b) > keptScratch {
			b = nil
		}
		select {
		case <-s.wake:
		case <-stop:
			return
		}
	}
}

func (c command) append(b []byte) []byte {
	switch {
	case c.topic == nil:
		return appendCommand(b, "PING", c.ping, nil)
	case c.leave && c.topic.pattern:
		return appendCommand(b, "PUNSUBSCRIBE", c.topic.name, nil)
	case c.leave:
		return appendCommand(b, "UNSUBSCRIBE", c.topic.name, nil)
	case c.topic.pattern:
		return appendCommand(b, "PSUBSCRIBE", c.topic.name, nil)
	}
	return appendCommand(b, "SUBSCRIBE", c.topic.name, nil)
}

var errDeaf = errors.New("what this process published to itself did not come back")

// read reads until the connection fails.
func (s *subscriber) read(c *pubsubConn) error {
	for {
		p, err := c.push()
		if err != nil {
			return err
		}
		switch p.kind {
		case "message":
			// What comes before the answer to the latest SUBSCRIBE is of an
			// earlier subscription, which has ended.
			if topic := string(p.name); s.confirmedNow(topic) {
				s.h.l.arrived(topic, p.payload, p.oversize)
			}
		case "pmessage":
			if string(p.name) == s.h.l.echoChannel {
				sequence, _ := strconv.ParseUint(string(p.payload), 10, 64)
				s.echoed(sequence)
			} else {
				s.h.l.arrivedOwn(string(p.name), p.payload, p.oversize)
			}
		case "pong":
			if !s.proved(string(p.payload)) {
				return errDeaf
			}
		case "error", "subscribe", "psubscribe", "unsubscribe", "punsubscribe":
			if err := s.confirmed(p.err); err != nil {
				return err
			}
		}
	}
}

// confirmedNow reports whether there is a subscription, which is confirmed.
func (s *subscriber) confirmedNow(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.topics[name]
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

// confirmed is told the server's answer to the oldest command.
func (s *subscriber) confirmed(refusal error) error {
	s.mu.Lock()
	if len(s.asked) == 0 {
		s.mu.Unlock()
		return refusal // about nothing that was asked
	}
	c := s.asked[0]
	s.asked[0] = command{}
	s.asked = s.asked[1:]
	if !c.leave {
		c.topic.err = refusal
		close(c.topic.ready)
	}
	if refusal != nil && c.topic.pattern {
		s.mu.Unlock()
		return refusal // nothing works without it
	}
	var lost time.Time
	if c.first {
		lost = s.complete
		s.live, s.complete = true, time.Now()
	}
	s.mu.Unlock()
	if c.first {
		s.attempted()
		s.h.l.subscribed(s.h, lost)
	}
	return nil
}

// lost is told why a connection ended, and reports whether it had been good.
func (s *subscriber) lost(ctx context.Context, err error) (wasLive bool) {
	s.mu.Lock()
	wasLive = s.live
	s.conn, s.live, s.down = nil, false, err
	s.commands, s.asked = nil, nil
	for _, t := range s.topics {
		select {
		case <-t.ready:
			t.ready, t.err = make(chan struct{}), nil
		default:
		}
	}
	waiting := s.waiting
	s.waiting = nil
	s.mu.Unlock()
	s.release(waiting)
	if wasLive && ctx.Err() == nil {
		s.h.l.disconnected(s.h, err)
	}
	return wasLive
}

// expect takes messages whose senders wait until this process has read an echo.
func (s *subscriber) expect(sequence uint64, messages []*publish) {
	s.mu.Lock()
	if s.conn == nil || sequence <= s.seen {
		s.mu.Unlock()
		s.h.pub.finish(nil, false, messages...)
		return
	}
	s.waiting = append(s.waiting, heard{sequence, time.Now(), messages})
	s.mu.Unlock()
}

// echoed is told that an echo was read: all that was published before has been
// handed over.
func (s *subscriber) echoed(sequence uint64) {
	s.mu.Lock()
	s.seen = sequence
	n := 0
	for n < len(s.waiting) && s.waiting[n].sequence <= sequence {
		n++
	}
	waiting := s.waiting[:n]
	s.waiting = s.waiting[n:]
	s.mu.Unlock()
	s.release(waiting)
}

// release lets senders go who do not get their echo, or have got it.
func (s *subscriber) release(waiting []heard) {
	for _, w := range waiting {
		s.h.pub.finish(nil, false, w.messages...)
	}
}

// connected is whether all subscriptions are there, and if not, why.
func (s *subscriber) connected() (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.live, s.down
}

// hear subscribes to a pattern and waits until that is confirmed. It does not
// wait for a server that is known to be away: the subscription is made when that
// is back.
func (s *subscriber) hear(ctx context.Context, pattern string) error {
	t := s.subscribe(pattern, true)
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
		limit := time.NewTimer(s.h.l.options.Timeout)
		defer limit.Stop()
		select {
		case <-c:
		case <-limit.C:
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
