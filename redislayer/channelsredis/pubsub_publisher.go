package channelsredis

import (
	"context"
	"errors"
	"math/rand/v2"
	"runtime"
	"strconv"
	"sync"
	"time"

	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/redislayer/channelsredis/internal/redisconn"
)

// publisher publishes on one host. One goroutine owns it and its connection;
// messages that come while a round trip is under way leave together in the
// next.
//
// What this process itself is subscribed to is published with an echo: after
// all that leaves together goes one more message, with a number, to a channel
// that only this process hears. When the subscriber reads that, it has handed
// over all that was published before. So a GroupSend that has returned has
// reached the members in this process, and what the same goroutine then sends
// to one of them without Redis does not overtake it.
type publisher struct {
	h *pubsubHost

	mu      sync.Mutex
	queued  []*publish
	down    error // why the last attempt to connect failed: calls fail at once
	closing bool
	wake    chan struct{} // has room for one
	done    chan struct{}

	// Only the goroutine uses these.
	buffer   []byte
	last     int64  // the id of the last connection,
	runID    string // and of the server it was made to
	sequence uint64 // of echoes
}

// publish is one message to be published.
type publish struct {
	channel string // "" for an echo alone
	body    []byte
	echo    bool
	probe   bool // is done when the server has the echo
	ask     bool // publishes nothing: how many receivers are there?

	stray bool // guarded by publisher.mu: the caller has gone, while it was under way

	receivers int64
	sequence  uint64 // of a probe's echo
	err       error
	maybe     bool // beside an error: the server may have run it
	done      chan struct{}
}

// Bounds of what leaves together.
const (
	maxBatch      = 4096
	maxBatchBytes = 1 << 20
)

// Between attempts to connect, with jitter.
const (
	minPubSubBackoff = 20 * time.Millisecond
	maxPubSubBackoff = 500 * time.Millisecond
)

func newPublisher(h *pubsubHost) *publisher {
	return &publisher{h: h, wake: make(chan struct{}, 1), done: make(chan struct{})}
}

// send publishes and waits for the reply, and for the echo if there is to be
// one. The error tells the outcome.
func (p *publisher) send(ctx context.Context, m *publish) error {
	m.done = make(chan struct{}, 1)
	p.mu.Lock()
	switch {
	case p.closing:
		p.mu.Unlock()
		return layer.NotSent(layer.ErrClosed)
	case p.down != nil:
		err := p.down
		p.mu.Unlock()
		return layer.NotSent(redisconn.Unavailable(err))
	}
	p.queued = append(p.queued, m)
	p.mu.Unlock()
	nudge(p.wake)
	select {
	case <-m.done:
	case <-ctx.Done():
		if !p.leave(m) {
			return layer.NotSent(ctx.Err())
		}
		select {
		case <-m.done:
		default:
			return layer.MaybeSent(ctx.Err())
		}
	}
	switch {
	case m.err == nil:
		return nil
	case m.maybe:
		return layer.MaybeSent(redisconn.Unavailable(m.err))
	}
	return layer.NotSent(redisconn.Unavailable(m.err))
}

// poke makes the publisher look whether its connection, too, is lost: better
// that than that the next message finds it out.
func (p *publisher) poke() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.down == nil && !p.closing {
		p.queued = append(p.queued, &publish{echo: true, probe: true, done: make(chan struct{}, 1)})
		nudge(p.wake)
	}
}

// leave takes a message whose caller goes out of the queue, or reports that it
// is under way.
func (p *publisher) leave(m *publish) (underWay bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, queued := range p.queued {
		if queued == m {
			p.queued = append(p.queued[:i], p.queued[i+1:]...)
			return false
		}
	}
	if m.echo && len(m.done) == 0 {
		m.stray = true
		p.h.l.strays.Add(1)
	}
	return true
}

// finish tells the caller.
func (p *publisher) finish(err error, maybe bool, messages ...*publish) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, m := range messages {
		m.err, m.maybe = err, maybe
		if m.stray {
			p.h.l.strays.Add(-1)
		}
		m.done <- struct{}{}
	}
}

func (p *publisher) run(ctx context.Context) {
	defer close(p.done)
	backoff := minPubSubBackoff
	for {
		c, err := p.connect(ctx)
		if err == nil {
			backoff = minPubSubBackoff
			err = p.serve(c)
			c.Close()
			if err == nil {
				return
			}
			p.h.l.log.Info("connection for publishing lost", "host", p.h.index, "error", err)
			continue
		}
		if p.failQueued(err) {
			return
		}
		wait := time.NewTimer(backoff/2 + rand.N(backoff))
		select {
		case <-wait.C:
		case <-p.wake: // to end
		case <-ctx.Done():
		}
		wait.Stop()
		backoff = min(2*backoff, maxPubSubBackoff)
		if ctx.Err() != nil {
			p.failQueued(ctx.Err())
			return
		}
	}
}

// connect makes a connection. What an earlier one left unread at the server is
// ended first: it must not be run after what is sent from now on.
func (p *publisher) connect(ctx context.Context) (*pubsubConn, error) {
	o := &p.h.l.options
	c, err := connectPubSub(ctx, p.h.settings, o.Timeout, o.Timeout, layer.MaxNameLength)
	if err != nil {
		return nil, err
	}
	if p.last != 0 && p.runID == c.RunID { // after a restart the id is another's
		ending, cancel := context.WithTimeout(ctx, o.Timeout)
		err := c.ClientKillByFilter(ending, "ID", strconv.FormatInt(p.last, 10)).Err()
		cancel()
		if err != nil && !redisconn.IsReply(err) {
			c.Close()
			return nil, err
		}
	}
	p.last, p.runID = c.ID, c.RunID
	p.mu.Lock()
	p.down = nil
	p.mu.Unlock()
	return c, nil
}

// failQueued fails what waits, and what comes, until there is a connection
// again. It reports whether the publisher is to end.
func (p *publisher) failQueued(err error) (closing bool) {
	p.mu.Lock()
	queued := p.queued
	p.queued, p.down = nil, err
	closing = p.closing
	p.mu.Unlock()
	p.finish(err, false, queued...)
	return closing
}

// serve publishes what is queued until the connection fails, or all is done
// and the publisher is to end: then it returns nil.
func (p *publisher) serve(c *pubsubConn) error {
	served := 0
	for {
		p.await(served)
		batch, closing := p.take()
		if served = len(batch); served == 0 {
			if closing {
				return nil
			}
			<-p.wake
			continue
		}
		if err := p.publish(c, batch); err != nil {
			return err
		}
	}
}

// await lets callers run until as many have come as were served last, or no
// more come: those whose calls have just returned may call again at once, and
// then leave together.
func (p *publisher) await(served int) {
	for had := -1; served > 1; {
		p.mu.Lock()
		n := len(p.queued)
		p.mu.Unlock()
		if n >= served || n == had {
			return
		}
		had = n
		runtime.Gosched()
	}
}

func (p *publisher) take() (batch []*publish, closing bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	n, size := 0, 0
	for n < len(p.queued) && n < maxBatch && (n == 0 || size < maxBatchBytes) {
		size += len(p.queued[n].body)
		n++
	}
	batch = p.queued[:n:n]
	if p.queued = p.queued[n:]; len(p.queued) == 0 {
		p.queued = nil
	}
	return batch, p.closing
}

// publish makes one round trip. It finishes every message whatever happens.
func (p *publisher) publish(c *pubsubConn, batch []*publish) error {
	b, echo := p.buffer[:0], false
	for _, m := range batch {
		switch {
		case m.ask:
			b = appendCommand(b, "PUBSUB", "NUMSUB", []byte(m.channel))
		case m.channel != "":
			b = appendCommand(b, "PUBLISH", m.channel, m.body)
		}
		echo = echo || m.echo
	}
	if echo {
		p.sequence++
		b = appendCommand(b, "PUBLISH", p.h.l.echoChannel, strconv.AppendUint(nil, p.sequence, 10))
	}
	if p.buffer = b; cap(b) > 4*maxBatchBytes {
		p.buffer = nil
	}
	err := c.write(b)
	var heard, probes []*publish // finished when the echo is heard, and when it is published
	for i, m := range batch {
		if err == nil && m.channel != "" {
			if m.ask {
				m.receivers, err = c.subscribers()
			} else {
				m.receivers, err = c.integer()
			}
			var refused serverError
			if errors.As(err, &refused) {
				p.finish(refused, !redisconn.CertainlyNotRun(refused), m)
				err = nil
				continue
			}
		}
		switch {
		case err != nil:
			p.finish(err, true, batch[i:]...)
			p.finish(nil, false, heard...) // the replies were read
			p.finish(err, true, probes...)
			return err
		case m.probe:
			m.sequence = p.sequence
			probes = append(probes, m)
		case m.echo:
			heard = append(heard, m)
		default:
			p.finish(nil, false, m)
		}
	}
	if !echo {
		return nil
	}
	receivers, err := c.integer()
	var refused serverError
	if errors.As(err, &refused) {
		err = nil
	}
	if err == nil && receivers > 0 {
		p.h.sub.expect(p.sequence, heard)
	} else {
		p.finish(nil, false, heard...) // nobody hears the echo here
	}
	p.finish(err, true, probes...)
	return err
}

// close ends the publisher when what is queued is done. It does not wait.
func (p *publisher) close() {
	p.mu.Lock()
	p.closing = true
	p.mu.Unlock()
	nudge(p.wake)
}

func nudge(wake chan struct{}) {
	select {
	case wake <- struct{}{}:
	default:
	}
}
