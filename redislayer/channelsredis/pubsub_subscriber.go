package channelsredis

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/channellayer/channellayer/redislayer/internal/link"
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
	asked    []command         // written and not answered, oldest first
	live     bool              // all that was asked when conn was made is confirmed
	down     error             // why the last attempt failed; nil before the first
	complete time.Time         // what was published before has been handed over; zero before the first
	waiting  []heard           // for echoes, oldest first
	seen     uint64            // the last echo on conn
	doubted  uint64            // see doubt; 0 if there is none
	again    bool              // some topics were refused; see askAgain
	wake     chan struct{}     // has room for one: there are commands
	first    chan struct{}     // closed when the first attempt to connect has ended
}

// command is one to be written: SUBSCRIBE or UNSUBSCRIBE, or PING.
type command struct {
	topic *topic // nil for a PING
	leave bool
	ping  string
	first bool // the last of those that were there when the connection was made
}

func newSubscriber(h *pubsubHost) *subscriber {
	return &subscriber{h: h, topics: map[string]*topic{}, wake: make(chan struct{}, 1), first: make(chan struct{})}
}

// run connects, and reads until the connection is lost, again and again.
func (s *subscriber) run(ctx context.Context) {
	var backoff link.Backoff
	var outage link.Outage
	for ctx.Err() == nil {
		c, err := connectPubSub(ctx, s.h.settings, s.h.l.options.Timeout, probeInterval+2*s.h.l.options.Timeout, s.h.l.mostWire())
		if err == nil {
			err = s.serve(ctx, c)
			c.Close()
			if s.lost(ctx, err) {
				backoff.Reset()
				outage = link.Outage{}
				continue
			}
		}
		s.mu.Lock()
		s.down = err
		s.mu.Unlock()
		s.attempted()
		if ctx.Err() == nil {
			outage.Tell(s.h.l.log.With("host", s.h.index), "redis is away", err)
		}
		backoff.Wait(ctx, nil)
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

// serve asks for all topics and reads until the connection fails. Before it asks,
// what the publisher has lost is ended: nothing late comes to the new
// subscriptions.
func (s *subscriber) serve(ctx context.Context, c *pubsubConn) error {
	s.mu.Lock()
	s.conn, s.down, s.seen = c, nil, 0
	s.commands, s.asked = nil, nil
	for _, t := range s.topics {
		s.commands = append(s.commands, command{topic: t})
	}
	s.commands[len(s.commands)-1].first = true // there is one at least: the process's own
	s.mu.Unlock()
	if err := s.h.pub.endLost(ctx, c); err != nil {
		return err
	}
	nudge(s.wake)
	stop := make(chan struct{})
	var writing sync.WaitGroup
	writing.Go(func() { s.writeCommands(c, stop) })
	err := s.read(c)
	close(stop)
	c.Net.Close() // ends a write
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
		s.asked = append(s.asked, commands...)
		s.mu.Unlock()
		b = b[:0]
		for _, command := range commands {
			b = command.append(b)
		}
		if len(b) > 0 {
			if err := c.write(b); err != nil {
				c.Net.Close()
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

// read reads until the connection fails. Before it waits for more, it hands over
// what it has read.
func (s *subscriber) read(c *pubsubConn) error {
	d := newDelivery(s.h.l)
	c.beforeRead = d.deliver
	defer d.deliver()
	for {
		p, err := c.push()
		if err != nil {
			return err
		}
		switch p.kind {
		case "message":
			// What comes before the answer to the latest SUBSCRIBE is of an
			// earlier subscription, which has ended.
			if s.confirmedNow(p.name) {
				d.add(p.name, false, p.payload, p.oversize)
			}
		case "pmessage":
			if string(p.name) == s.h.l.echoChannel {
				d.deliver()
				s.echoed(string(p.payload))
			} else {
				d.add(p.name, true, p.payload, p.oversize)
			}
		default: // pong, subscribe and the like, or an error
			d.deliver()
			if err := s.answered(p); err != nil {
				return err
			}
		}
	}
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
	s.endDoubtLocked()
	s.mu.Unlock()
	s.release(false, waiting)
	if wasLive && ctx.Err() == nil {
		s.h.l.disconnected(s.h, err)
	}
	return wasLive
}

// connected is whether all subscriptions are there, and if not, why.
func (s *subscriber) connected() (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.live, s.down
}
