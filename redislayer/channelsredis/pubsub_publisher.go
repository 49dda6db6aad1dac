package channelsredis

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/redis/go-redis/v9"

	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/redislayer/channelsredis/internal/redisconn"
	"github.com/channellayer/channellayer/redislayer/internal/caller"
	"github.com/channellayer/channellayer/redislayer/internal/link"
)

// publisher publishes on one host, on one connection. A caller that finds it
// free uses it itself; messages that come while a round trip is under way leave
// together in the next, which the publisher's goroutine makes.
//
// What this process itself is subscribed to is published with an echo: after
// all that leaves together goes one more message, with a number, to a channel
// that only this process hears. When the subscriber reads that, it has handed
// over all that was published before. So a GroupSend that has returned has
// reached the members in this process, and what the same goroutine then sends
// to one of them without Redis does not overtake it. Where a call had to return
// before the echo came, see [PubSub.settle].
type publisher struct {
	h *pubsubHost

	mu      sync.Mutex
	queued  caller.Queue[*publish]
	down    error // why the last attempt to connect failed: calls fail at once
	closing bool
	lost    serverConn // a connection that failed and may not have ended at the server
	turn    caller.Turn[*pubsubConn, *publish]
	wake    chan struct{} // has room for one
	done    chan struct{}

	strays atomic.Int64 // reasons why what was published may yet come when nobody waits for it

	sequence atomic.Uint64 // of the last echo; only who has the turn changes it

	buffer []byte // only who has the turn uses it
}

// serverConn is a connection as the server knows it.
type serverConn struct {
	id    int64
	runID string // of the server: after a restart the id is another's
}

// Bounds of what leaves together.
const (
	maxBatch      = 4096
	maxBatchBytes = 1 << 20
)

func newPublisher(h *pubsubHost) *publisher {
	return &publisher{h: h, wake: make(chan struct{}, 1), done: make(chan struct{})}
}

func (p *publisher) run(ctx context.Context) {
	defer close(p.done)
	var backoff link.Backoff
	for {
		c, err := p.connect(ctx)
		if err == nil {
			backoff.Reset()
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
		backoff.Wait(ctx, p.wake) // it is woken to end
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
	if err := p.endLost(ctx, c); err != nil {
		c.Close()
		return nil, err
	}
	if err := p.checkRights(ctx, c); err != nil {
		c.Close()
		return nil, err
	}
	p.mu.Lock()
	p.down, p.lost = nil, serverConn{}
	p.mu.Unlock()
	return c, nil
}

// endLost ends, at the server, a connection for publishing that has failed, by
// way of a new one to there.
func (p *publisher) endLost(ctx context.Context, c *pubsubConn) error {
	p.mu.Lock()
	lost := p.lost
	p.mu.Unlock()
	if lost.id == 0 || lost.runID != c.RunID {
		return nil
	}
	return c.kill(ctx, lost.id)
}

// checkRights returns a [SetupError] if the user may not run what a publisher
// does: to publish, and to ask who would hear of it. Nobody hears of this.
func (p *publisher) checkRights(ctx context.Context, c *pubsubConn) error {
	nobody := p.h.l.process.Name()
	_, err := c.Pipelined(ctx, func(pipe redis.Pipeliner) error {
		pipe.Publish(ctx, nobody, "")
		pipe.PubSubNumSub(ctx, nobody)
		return nil
	})
	return redisconn.Explain(err)
}

// connected is whether there is a connection, and if not, why.
func (p *publisher) connected() (bool, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.turn.Conn() != nil, p.down
}

// fails takes note that a connection has failed.
func (p *publisher) fails(c *pubsubConn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lost = serverConn{c.ID, c.RunID}
}

// failQueued fails what waits, and what comes, until there is a connection
// again. It reports whether the publisher is to end.
func (p *publisher) failQueued(err error) (closing bool) {
	p.mu.Lock()
	queued := p.queued.TakeAll()
	p.down = err
	closing = p.closing
	p.mu.Unlock()
	p.finish(err, false, queued...)
	return closing
}

// serve publishes what is queued until the connection fails, or all is done
// and the publisher is to end: then it returns nil.
func (p *publisher) serve(c *pubsubConn) error {
	p.mu.Lock()
	p.turn.Begin(c)
	p.mu.Unlock()
	defer p.takeBack(c)
	for served := 0; ; {
		if served > 1 {
			p.queued.Await(&p.mu, served)
		}
		next := p.take()
		served = len(next.batch)
		switch {
		case len(next.pending) > 0:
			if err := p.collect(c, next.pending, next.broken); err != nil {
				return err
			}
		case next.broken != nil:
			return next.broken
		case !next.wait:
			if err := p.publish(c, next.batch); err != nil {
				return err
			}
		case next.closing:
			return nil
		default:
			<-p.wake
		}
	}
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
		p.sequence.Add(1)
		b = appendCommand(b, "PUBLISH", p.h.l.echoChannel, strconv.AppendUint(nil, p.sequence.Load(), 10))
	}
	if p.buffer = b; cap(b) > 4*maxBatchBytes {
		p.buffer = nil
	}
	err := c.Pipe.Write(b, c.timeout)
	if err == nil {
		c.Pipe.Extend(c.quiet)
	}
	return p.collect(c, batch, err)
}

// collect reads the replies to what was published, unless that failed.
func (p *publisher) collect(c *pubsubConn, batch []*publish, err error) error {
	echo, comesBack := false, false
	for _, m := range batch {
		echo, comesBack = echo || m.echo, comesBack || m.comesBack()
	}
	var heard, probes []*publish // finished when the echo is heard, and when it is published
	// unheard is told what becomes of those who wait for the echo in vain.
	unheard := func() {
		if comesBack {
			p.h.sub.doubt(p.sequence.Load())
		}
	}
	for i, m := range batch {
		if err == nil && m.channel != "" {
			m.receivers, err = c.receivers(m.ask)
			var refused serverError
			if errors.As(err, &refused) {
				p.finish(refused, !link.CertainlyNotRun(refused), m)
				err = nil
				continue
			}
		}
		switch {
		case err != nil:
			p.fails(c)
			unheard()
			p.finish(err, true, batch[i:]...)
			p.finish(nil, false, heard...) // the replies were read
			p.finish(err, true, probes...)
			return err
		case m.probe:
			m.sequence = p.sequence.Load()
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
	receivers, err := c.receivers(false)
	var refused serverError
	if errors.As(err, &refused) {
		unheard()
		p.finish(nil, false, heard...)
		p.finish(refused, !link.CertainlyNotRun(refused), probes...)
		return nil
	}
	switch {
	case err != nil:
		p.fails(c)
		unheard()
		p.finish(nil, false, heard...)
	case receivers == 0: // nobody hears the echo here
		unheard()
		p.finish(nil, false, heard...)
	default:
		p.awaitEcho(heard)
		p.h.sub.expect(p.sequence.Load(), heard)
	}
	p.finish(err, true, probes...)
	return err
}

// awaitEcho takes note that messages were published.
func (p *publisher) awaitEcho(messages []*publish) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, m := range messages {
		m.published = true
	}
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
