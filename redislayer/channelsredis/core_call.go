package channelsredis

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/redislayer/channelsredis/internal/redisconn"
)

// op is one operation that waits to be written to one host.
type op struct {
	what     opKind
	key      string   // of a queue or a group
	name     string   // of the channel; opAdd, opDiscard: of the member
	body     []byte   // opSend
	capacity int      // opSend
	fan      *fan     // opFan
	keys     []string // opEnd
	id       int64    // opUnblock

	// Results.
	err     error
	maybe   bool    // beside an error: the server may have run it
	members *roster // opMembers; opFan if the members were others, else nil
	count   int64   // opUnblock, opEnd

	taken bool          // guarded by writer.mu
	done  chan struct{} // nil if nobody waits
	then  func(*op)     // is told the result, on the writer's goroutine
}

type opKind byte

const (
	opSend    opKind = iota // a message to a queue
	opFan                   // a group's message to its queues here
	opMembers               // who is in a group
	opAdd                   // a channel to a group
	opDiscard               // and from it
	opPrune                 // what has expired in a queue
	opEnd                   // queues of a process that ends
	opUnblock               // a connection that waits for messages
	opTime                  // a round trip that tells the server's clock
)

func (o *op) finish(err error) {
	o.err = err
	if o.then != nil {
		o.then(o)
	}
	if o.done != nil {
		o.done <- struct{}{}
	}
}

// enqueue queues an operation, or reports why that cannot be.
func (w *writer) enqueue(o *op) error {
	_, err := w.claimOrEnqueue(o, false)
	return err
}

// claimOrEnqueue gives its caller the turn and the connection, if it may have
// them; otherwise it queues the operation, or reports why that cannot be.
func (w *writer) claimOrEnqueue(o *op, may bool) (*redisconn.Conn, error) {
	w.mu.Lock()
	if may {
		if conn := w.claimLocked(o); conn != nil {
			w.mu.Unlock()
			return conn, nil
		}
	}
	if w.closing || w.down != nil {
		err := w.down
		if w.closing {
			err = layer.ErrClosed
		}
		w.mu.Unlock()
		return nil, err
	}
	w.queued = append(w.queued, o)
	nudge := len(w.queued) == 1 && w.turn == turnFree // who has the turn looks
	w.mu.Unlock()
	if nudge {
		w.nudge()
	}
	return nil, nil
}

// do carries out an operation, itself or through the queue, and waits until it
// is done or ctx ends. Every error tells its outcome.
func (w *writer) do(ctx context.Context, o *op) error {
	err, maybe := w.try(ctx, o)
	if maybe {
		return layer.MaybeSent(err)
	}
	return layer.NotSent(err)
}

// try is do with the outcome beside the error.
func (w *writer) try(ctx context.Context, o *op) (err error, maybe bool) {
	if err := ctx.Err(); err != nil {
		return err, false
	}
	wait := waiters.Get().(*waiter)
	o.done = wait.done
	conn, err := w.claimOrEnqueue(o, true)
	if err != nil {
		waiters.Put(wait)
		return err, false
	}
	limit := w.c.options.Timeout
	if conn != nil {
		began := w.c.now()
		if w.callNow(ctx, conn, o, wait) {
			waiters.Put(wait)
			return o.err, o.maybe
		}
		limit -= time.Duration(w.c.now() - began)
	}
	wait.timeout.Reset(limit)
	select {
	case <-wait.done:
		wait.timeout.Stop()
		waiters.Put(wait)
		return o.err, o.maybe
	case <-ctx.Done():
		err = ctx.Err()
	case <-wait.timeout.C:
		err = redisconn.Unavailable(errTimeout)
	}
	wait.timeout.Stop()
	if w.withdraw(o) {
		waiters.Put(wait)
		return err, false
	}
	select {
	case <-wait.done: // it was finished just now
		waiters.Put(wait)
		return o.err, o.maybe
	default:
		return err, true // and wait is the operation's still
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
func (w *writer) withdraw(o *op) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	i := slices.Index(w.queued, o)
	if o.taken || i < 0 {
		return false
	}
	w.queued = slices.Concat(w.queued[:i], w.queued[i+1:])
	return true
}
