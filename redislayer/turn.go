package redislayer

import (
	"context"

	"github.com/channellayer/channellayer/redislayer/internal/caller"
)

// claimLocked gives a caller the turn, and the connection, if there is nothing
// to do before its operation.
func (s *session) claimLocked() *conn {
	if s.closing || s.down != nil || s.queued.Len() > 0 || len(s.dirty) > 0 || s.l.now()-s.renewedAt.Load() > int64(s.l.options.Lease/2) {
		return nil
	}
	return s.turn.Claim()
}

// release ends a caller's turn. It leaves pending to the session's goroutine,
// and tells it that the connection is broken.
func (s *session) release(pending []*call, broken error) {
	s.mu.Lock()
	nudge := s.turn.Release(pending, broken) || s.closing || s.queued.Len() > 0 || len(s.dirty) > 0
	s.mu.Unlock()
	if nudge {
		s.nudge()
	}
}

// work is what the session's goroutine has to do next.
type work struct {
	idle    bool // nothing
	wait    bool // a caller has the turn, and will nudge
	closing bool
	broken  error
	pending []*call
	ops     []*op
	groups  []string
}

// take takes the turn and what is queued, within the bounds of a round trip, if
// that is anything, or due.
func (s *session) take(due bool) (w work) {
	s.mu.Lock()
	defer s.mu.Unlock()
	pending, broken, ok := s.turn.Take()
	switch {
	case !ok:
		return work{wait: true}
	case broken != nil:
		return work{broken: broken} // what is queued is for the next connection; a caller that says so leaves nothing
	}
	w = work{closing: s.closing, pending: pending}
	bytes := 0
	w.ops = s.queued.Take(func(before int, o *op) bool {
		bytes += len(o.body)
		return before == 0 || before < maxFlushOps && bytes <= maxFlushBytes
	})
	for g := range s.dirty {
		if len(w.groups) == groupBatch {
			break
		}
		w.groups = append(w.groups, g)
		delete(s.dirty, g)
	}
	if !due && len(w.pending)+len(w.ops)+len(w.groups) == 0 {
		w.idle = true
		if !w.closing {
			s.turn.Yield()
		}
	}
	return w
}

// takeBack ends the serving of a connection: a caller that uses it fails.
func (s *session) takeBack(ctx context.Context, c *conn) {
	s.mu.Lock()
	pending := s.turn.End(&s.mu, s.wake)
	s.mu.Unlock()
	if len(pending) > 0 {
		s.complete(ctx, c, pending, caller.ErrTimeout)
	}
}
