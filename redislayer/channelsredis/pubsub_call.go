package channelsredis

import (
	"context"
	"time"

	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/redislayer/channelsredis/internal/redisconn"
	"github.com/channellayer/channellayer/redislayer/internal/caller"
)

// publish is one message to be published.
type publish struct {
	channel string // "" for an echo alone
	body    []byte
	echo    bool
	probe   bool // is done when the server has the echo
	ask     bool // publishes nothing: how many receivers are there?

	// Guarded by publisher.mu.
	caller.Place      // in publisher.queued
	published    bool // the server has run it, and the echo has not come yet
	stray        bool // the caller has gone, while it was under way

	// Results.
	receivers int64
	sequence  uint64 // of a probe's echo
	heard     bool   // the echo was read here
	err       error
	maybe     bool // beside an error: the server may have run it
	done      chan struct{}
}

// comesBack reports whether the message itself is to be read by this process.
func (m *publish) comesBack() bool { return m.echo && m.channel != "" }

// send publishes and waits for the reply, and for the echo if there is to be
// one, but no longer than the layer's timeout. The error tells the outcome.
func (p *publisher) send(ctx context.Context, m *publish) error {
	err, maybe := p.try(ctx, m)
	if maybe {
		return layer.MaybeSent(err)
	}
	return layer.NotSent(err)
}

// try is send with the outcome beside the error.
func (p *publisher) try(ctx context.Context, m *publish) (err error, maybe bool) {
	if err := ctx.Err(); err != nil {
		return err, false
	}
	wait := caller.New()
	m.done = wait.Done
	began := time.Now()
	c, err := p.claimOrEnqueue(m)
	if err != nil {
		wait.Free()
		return err, false
	}
	if c == nil || !p.callNow(ctx, c, m, wait) {
		if err := wait.Wait(ctx, p.h.l.options.Timeout-time.Since(began)); err != nil {
			switch p.leave(m) {
			case leftQueue:
				wait.Free()
				return inTime(err), false
			case leftUnderWay:
				return inTime(err), true // and wait is the message's still
			case leftPublished:
				if ctx.Err() == nil && m.channel != "" {
					return nil, false
				}
				return inTime(err), true
			case leftFinished:
				<-wait.Done
			}
		}
	}
	wait.Free()
	return m.result()
}

// result is what a message's sender is told. The cause of a failure is the
// connection's, not the caller's.
func (m *publish) result() (err error, maybe bool) {
	if m.err == nil {
		return nil, false
	}
	return redisconn.Unavailable(m.err), m.maybe
}

// claimOrEnqueue gives its caller the turn and the connection, if it may have
// them; otherwise it queues the message, or says why that cannot be.
func (p *publisher) claimOrEnqueue(m *publish) (*pubsubConn, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.closing:
		return nil, layer.ErrClosed
	case p.down != nil:
		return nil, redisconn.Unavailable(p.down)
	}
	c := p.claimLocked(m)
	if c == nil {
		p.enqueueLocked(m)
	}
	return c, nil
}

func (p *publisher) enqueueLocked(m *publish) {
	if p.queued.Add(m); p.turn.Free() { // who has the turn looks
		nudge(p.wake)
	}
}

// poke makes the publisher look whether its connection, too, is lost: better
// that than that the next message finds it out.
func (p *publisher) poke() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.down == nil && !p.closing {
		p.enqueueLocked(&publish{echo: true, probe: true, done: make(chan struct{}, 1)})
	}
}

// How far a message was when its caller left.
type left int

const (
	leftQueue     left = iota // taken out: it will not be published
	leftUnderWay              // it may have been published, or may yet be
	leftPublished             // it was, and nothing but its echo is awaited
	leftFinished              // its result is there
)

// leave takes a message whose caller goes out of the queue. Where it is too late
// for that, the message is a stray until it is finished.
func (p *publisher) leave(m *publish) left {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.queued.Withdraw(m) {
		return leftQueue
	}
	if len(m.done) > 0 {
		return leftFinished
	}
	if m.comesBack() {
		m.stray = true
		p.strays.Add(1)
	}
	if m.published {
		return leftPublished
	}
	return leftUnderWay
}

// finish tells the callers.
func (p *publisher) finish(err error, maybe bool, messages ...*publish) {
	p.end(false, err, maybe, messages)
}

// end tells the callers how it ended, and whether the echo was read.
func (p *publisher) end(heard bool, err error, maybe bool, messages []*publish) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, m := range messages {
		m.heard, m.err, m.maybe = heard, err, maybe
		if m.stray {
			p.strays.Add(-1)
		}
		m.done <- struct{}{}
	}
}
