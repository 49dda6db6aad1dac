package channelsredis

import (
	"context"
	"errors"

	"github.com/channellayer/channellayer/redislayer/internal/caller"
	"github.com/channellayer/channellayer/redislayer/internal/link"
	"github.com/channellayer/channellayer/redislayer/internal/resp"
)

// As with Core, a caller who finds the connection free makes the round trip
// itself.

// claimLocked gives a caller the turn, and the connection, if there is nothing
// to do before its message, and no echo after it.
func (p *publisher) claimLocked(m *publish) *pubsubConn {
	if p.closing || p.down != nil || p.queued.Len() > 0 || m.channel == "" || m.echo || m.ask || len(m.body) > maxCallNow {
		return nil
	}
	return p.turn.Claim()
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
				p.release(nil)
				return
			}
			m.done = wait.Done
			p.release(nil, m)
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
		p.release(err, m)
		return false
	}
	p.release(nil)
	return true
}

// release ends a caller's turn. It leaves pending to the publisher's goroutine,
// and tells it that the connection is broken.
func (p *publisher) release(broken error, pending ...*publish) {
	p.mu.Lock()
	wake := p.turn.Release(pending, broken) || p.closing || p.queued.Len() > 0
	p.mu.Unlock()
	if wake {
		nudge(p.wake)
	}
}

// publishing is what the publisher's goroutine does next.
type publishing struct {
	wait    bool // a caller has the turn, and will nudge; or there is nothing to do
	closing bool
	broken  error
	pending []*publish
	batch   []*publish
}

// take takes the turn, and what is to be done.
func (p *publisher) take() publishing {
	p.mu.Lock()
	defer p.mu.Unlock()
	pending, broken, ok := p.turn.Take()
	switch {
	case !ok:
		return publishing{wait: true}
	case len(pending) > 0 || broken != nil:
		return publishing{pending: pending, broken: broken} // what is queued comes later
	}
	size := 0
	batch := p.queued.Take(func(before int, m *publish) bool {
		size += len(m.body)
		return before == 0 || before < maxBatch && size <= maxBatchBytes
	})
	next := publishing{batch: batch, wait: len(batch) == 0, closing: p.closing}
	if next.wait && !p.closing {
		p.turn.Yield()
	}
	return next
}

// takeBack ends the serving of a connection: a caller that uses it fails.
func (p *publisher) takeBack(c *pubsubConn) {
	p.mu.Lock()
	pending := p.turn.End(&p.mu, p.wake)
	p.mu.Unlock()
	if len(pending) > 0 {
		p.fails(c)
		p.finish(caller.ErrTimeout, true, pending...)
	}
}
