package redislayer

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/channellayer/channellayer/layer"
)

// enqueue queues an operation, or reports why that cannot be.
func (s *session) enqueue(o *op) error {
	s.mu.Lock()
	if s.closing || s.down != nil {
		err := s.down
		if s.closing {
			err = layer.ErrClosed
		}
		s.mu.Unlock()
		return err
	}
	s.queued = append(s.queued, o)
	first := len(s.queued) == 1
	s.mu.Unlock()
	if first {
		s.nudge()
	}
	return nil
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
	w := waiters.Get().(*waiter)
	o.done = w.done
	if err := s.enqueue(o); err != nil {
		waiters.Put(w)
		return err, false
	}
	w.timeout.Reset(s.l.options.Timeout)
	select {
	case <-w.done:
		w.timeout.Stop()
		waiters.Put(w)
		return o.err, o.maybe
	case <-ctx.Done():
		err = ctx.Err()
	case <-w.timeout.C:
		err = unavailable(errTimeout)
	}
	w.timeout.Stop()
	if s.withdraw(o) {
		waiters.Put(w)
		return err, false
	}
	select {
	case <-w.done: // it was finished just now
		waiters.Put(w)
		return o.err, o.maybe
	default:
		return err, true // and w is the operation's still
	}
}

// waiter is what a caller waits with. It is used again once nobody else can
// have to do with it: after its operation was finished, which happens once, or
// was taken out of the queue.
type waiter struct {
	done    chan struct{}
	timeout *time.Timer
}

var waiters = sync.Pool{New: func() any {
	w := &waiter{make(chan struct{}, 1), time.NewTimer(time.Hour)}
	w.timeout.Stop()
	return w
}}

var errTimeout = errors.New("no answer within the timeout")

// withdraw takes an operation out of the queue, unless it has left.
func (s *session) withdraw(o *op) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.Index(s.queued, o)
	if o.taken || i < 0 {
		return false
	}
	s.queued = slices.Concat(s.queued[:i], s.queued[i+1:])
	return true
}
