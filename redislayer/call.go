package redislayer

import (
	"context"
	"time"

	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/redislayer/internal/caller"
	"github.com/channellayer/channellayer/redislayer/internal/resp"
)

// enqueue queues an operation, or reports why that cannot be.
func (s *session) enqueue(o *op) error {
	_, err := s.claimOrEnqueue(o, false)
	return err
}

// claimOrEnqueue gives its caller the turn and the connection, if it may have
// them; otherwise it queues the operation, or reports why that cannot be.
func (s *session) claimOrEnqueue(o *op, may bool) (*conn, error) {
	s.mu.Lock()
	if may {
		if c := s.claimLocked(); c != nil {
			s.mu.Unlock()
			return c, nil
		}
	}
	if s.closing || s.down != nil {
		err := s.down
		if s.closing {
			err = layer.ErrClosed
		}
		s.mu.Unlock()
		return nil, err
	}
	nudge := s.queued.Add(o) && s.turn.Free() // who has the turn looks
	s.mu.Unlock()
	if nudge {
		s.nudge()
	}
	return nil, nil
}

// do queues an operation and waits until it is done or ctx ends. Every error
// tells its outcome.
func (s *session) do(ctx context.Context, o *op) error {
	err, maybe := s.try(ctx, o)
	if maybe {
		return layer.MaybeSent(err)
	}
	return layer.NotSent(err)
}

// try is do with the outcome beside the error.
func (s *session) try(ctx context.Context, o *op) (err error, maybe bool) {
	w := caller.New()
	o.done = w.Done
	c, err := s.claimOrEnqueue(o, o.what <= opPush && len(o.body) <= maxCallNow)
	if err != nil {
		w.Free()
		return err, false
	}
	if c == nil || !s.callNow(ctx, c, o, w) {
		if err := w.Wait(ctx, s.l.options.Timeout); err != nil {
			if err == caller.ErrTimeout {
				err = unavailable(err)
			}
			switch {
			case s.withdraw(o):
				w.Free()
				return err, false
			case !w.Told():
				return err, true // and w is the operation's still
			}
		}
	}
	w.Free()
	return o.err, o.maybe
}

// maxCallNow bounds what a caller writes itself: so much a connection takes at
// once, where nothing else is on its way.
const maxCallNow = 16 << 10

// callNow carries out an operation on the connection that its caller has
// claimed. If ctx ends meanwhile, or more has to be done than one round trip,
// it leaves the rest to the session's goroutine, and reports false: the
// operation is then as if it had been queued, and taken.
func (s *session) callNow(ctx context.Context, c *conn, o *op, w *caller.Caller) bool {
	o.done = nil
	s.begin()
	calls := s.plan([]*op{o})
	interrupted := false
	err := s.send(c, calls)
	if err == nil {
		interrupted, err = w.ReadUntil(ctx, c.Pipe, func() error { return receive(c, calls) }, func() { s.release(calls, nil) })
	}
	if interrupted && resp.IsTimeout(err) || err == nil && !isComplete(calls) {
		o.done = w.Done
		s.release(calls, nil)
		return false
	}
	if err == nil && calls[0].refused == nil {
		// First of all the turn ends: an observer that is told of a drop may
		// panic, or send.
		s.lastGood = time.Now()
		s.release(nil, nil)
		s.complete(ctx, c, calls, nil)
		return true
	}
	if err = s.complete(ctx, c, calls, err); err == nil {
		s.lastGood = time.Now()
	}
	s.release(nil, err)
	return true
}

// withdraw takes an operation back, unless it was taken off the queue.
func (s *session) withdraw(o *op) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.queued.Withdraw(o)
}
