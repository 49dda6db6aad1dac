package channelsredis

import (
	"context"
	"errors"

	"github.com/channellayer/channellayer/redislayer/internal/caller"
	"github.com/channellayer/channellayer/redislayer/internal/link"
	"github.com/channellayer/channellayer/redislayer/internal/resp"
)

// As with Core, a caller who finds the connection free makes the round trip
// itself: see [turn].

// claimLocked gives a caller the turn, and the connection, if there is nothing
// to do before its message, and no echo after it.
func (p *publisher) claimLocked(m *publish) *pubsubConn {
	if p.turn != turnFree || p.conn == nil || p.closing || p.down != nil || p.broken != nil ||
		p.wanted || p.queued.Len() > 0 || p.pending != nil ||
		m.channel == "" || m.echo || m.ask || len(m.body) > maxCallNow {
		return nil
	}
	p.turn = turnCaller
	return p.conn
}

// callNow publishes a message on the connection that its caller has claimed. If
// the reply does not come before ctx ends, or the deadline, or the connection
// fails, it leaves the rest to the publisher's goroutine, and reports false.
func (p *publisher) callNow(ctx context.Context, c *pubsubConn, m *publish, wait *caller.Caller) bool {
	m.done = nil
	p.buffer = appendCommand(p.buffer[:0], "PUBLISH", m.channel, m.body)
	var reply []byte
	interrupted := false
	err := c.Pipe.Write(p.buffer, c.timeout)
	if err == nil {
		interrupted, err = wait.ReadUntil(ctx, c.Pipe, func() (err error) {
			reply, err = c.Pipe.Fetch()
			return err
		}, func() {
			if reply != nil { // and nobody waits for what it says
				p.release(nil, nil)
				return
			}
			m.done = wait.Done
			p.release(m, nil)
		})
	}
	if err == nil {
		m.receivers, err = integer(reply)
	}
	var refused serverError
	switch {
	case err == nil:
	case errors.As(err, &refused):
		m.err, m.maybe = refused, !link.CertainlyNotRun(refused)
	default:
		m.done = wait.Done
		if resp.IsTimeout(err) { // the publisher's goroutine goes on to read
			if c.Pipe.Extend(stallGrace); interrupted {
				c.Pipe.Extend(c.quiet)
			}
			err = nil
		}
		p.release(m, err)
		return false
	}
	p.release(nil, nil)
	return true
}

// release ends a caller's turn. It leaves pending to the publisher's goroutine,
// and tells it that the connection is broken.
func (p *publisher) release(pending *publish, broken error) {
	p.mu.Lock()
	p.turn = turnFree
	p.pending, p.broken = pending, broken
	wanted := p.wanted || p.closing || broken != nil || pending != nil || p.queued.Len() > 0
	p.mu.Unlock()
	if wanted {
		nudge(p.wake)
	}
}

// publishing is what the publisher's goroutine does next.
type publishing struct {
	wait    bool // a caller has the turn, and will nudge; or there is nothing to do
	closing bool
	broken  error
	pending *publish
	batch   []*publish
}

// take takes the turn, and what is to be done.
func (p *publisher) take() publishing {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.turn == turnCaller {
		p.wanted = true
		return publishing{wait: true}
	}
	p.turn, p.wanted = turnWriter, false
	if p.pending != nil || p.broken != nil { // what is queued comes later
		next := publishing{pending: p.pending, broken: p.broken}
		p.pending, p.broken = nil, nil
		return next
	}
	size := 0
	batch := p.queued.Take(func(before int, m *publish) bool {
		size += len(m.body)
		return before == 0 || before < maxBatch && size <= maxBatchBytes
	})
	next := publishing{batch: batch, wait: len(batch) == 0, closing: p.closing}
	if next.wait && !p.closing {
		p.turn = turnFree
	}
	return next
}

// begin lets the connection be used.
func (p *publisher) begin(c *pubsubConn) {
	p.mu.Lock()
	p.conn, p.turn = c, turnWriter
	p.mu.Unlock()
}

// takeBack ends that: a caller that uses the connection fails.
func (p *publisher) takeBack(c *pubsubConn) {
	p.mu.Lock()
	p.conn = nil
	for p.turn == turnCaller {
		p.wanted = true
		p.mu.Unlock()
		c.Pipe.Interrupt()
		<-p.wake
		p.mu.Lock()
	}
	p.turn = turnWriter
	pending := p.pending
	p.pending, p.broken = nil, nil
	p.mu.Unlock()
	if pending != nil {
		p.fails(c)
		p.finish(caller.ErrTimeout, true, pending)
	}
}
