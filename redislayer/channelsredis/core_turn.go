package channelsredis

import (
	"context"

	"github.com/channellayer/channellayer/redislayer/channelsredis/internal/redisconn"
	"github.com/channellayer/channellayer/redislayer/internal/caller"
	"github.com/channellayer/channellayer/redislayer/internal/resp"
)

// maxCallNow bounds what a caller writes itself: so much a connection takes at
// once, where nothing else is on its way.
const maxCallNow = 16 << 10

// claimLocked gives a caller the turn, and the connection, if there is nothing
// to do before its operation.
func (w *writer) claimLocked(o *op) *redisconn.Conn {
	if w.closing || w.down != nil || w.queued.Len() > 0 || o.size() > maxCallNow {
		return nil
	}
	return w.turn.Claim()
}

// callNow carries out an operation on the connection that its caller has
// claimed. If ctx ends meanwhile, or it does not go as it should, it leaves the
// rest to the writer's goroutine, and reports false: the operation is then as
// if it had been queued, and taken.
func (w *writer) callNow(ctx context.Context, conn *redisconn.Conn, o *op, wait *caller.Caller) bool {
	o.done = nil
	calls := w.plan([]*op{o})
	interrupted := false
	err := w.send(conn, calls)
	if err == nil {
		interrupted, err = wait.ReadUntil(ctx, conn.Pipe, func() error { return receive(conn, calls) }, func() {
			o.done = wait.Done
			w.release(calls, nil)
		})
	}
	if interrupted && resp.IsTimeout(err) {
		conn.Pipe.Extend(w.c.options.Timeout)
		err = nil // the writer's goroutine goes on to read
	}
	c := calls[0]
	if err != nil || c.left > 0 || c.refused != nil {
		o.done = wait.Done
		w.release(calls, err)
		return false
	}
	// The turn ends before an observer is told of a drop: it may send.
	if c.hear != nil {
		c.hear(c.list())
	}
	w.release(nil, nil)
	c.apply(c, c.list())
	return true
}

// release ends a caller's turn. It leaves pending to the writer's goroutine, and
// tells it that the connection is broken.
func (w *writer) release(pending []*call, broken error) {
	w.mu.Lock()
	nudge := w.turn.Release(pending, broken) || w.closing || w.queued.Len() > 0 || !w.pruning && len(w.filled) > 0
	w.mu.Unlock()
	if nudge {
		w.nudge()
	}
}

// work is what the writer's goroutine does next.
type work struct {
	wait    bool // a caller has the turn, and will nudge
	idle    bool // nothing
	closing bool
	broken  error
	pending []*call
	ops     []*op
}

// take takes the turn and what is to be done, within the bounds of a round trip,
// if that is anything, or due.
func (w *writer) take(due bool) work {
	w.mu.Lock()
	defer w.mu.Unlock()
	pending, broken, ok := w.turn.Take()
	switch {
	case !ok:
		return work{wait: true}
	case len(pending) > 0 || broken != nil:
		return work{pending: pending, broken: broken} // what is queued comes later
	}
	bytes := 0
	ops := w.queued.Take(func(before int, o *op) bool {
		bytes += o.size()
		return before == 0 || before < maxRoundOps && bytes <= maxRoundBytes
	})
	next := work{ops: ops, closing: w.closing, idle: len(ops) == 0 && !due}
	if next.idle && !w.closing {
		w.turn.Yield()
		w.pruning = len(w.filled) > 0
	}
	return next
}

// takeBack ends the serving of a connection: a caller that uses it fails.
func (w *writer) takeBack(ctx context.Context, conn *redisconn.Conn) {
	w.mu.Lock()
	pending := w.turn.End(&w.mu, w.wake)
	w.mu.Unlock()
	w.complete(ctx, conn, pending, caller.ErrTimeout)
}
