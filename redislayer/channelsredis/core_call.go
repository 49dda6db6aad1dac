package channelsredis

import (
	"context"
	"time"

	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/redislayer/channelsredis/internal/redisconn"
	"github.com/channellayer/channellayer/redislayer/internal/caller"
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
	known    string   // opMembers: what the reply will be if nothing has changed

	// Results.
	err     error
	maybe   bool    // beside an error: the server may have run it
	members *roster // opMembers; opFan if the members were others, else nil
	unused  error   // opFan: why some of the queues got nothing
	count   int64   // opUnblock, opEnd

	caller.Place               // in writer.queued
	done         chan struct{} // nil if nobody waits
	then         func(*op)     // is told the result, on the writer's goroutine
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
	nudge := w.queued.Add(o) && w.turn.Free() // who has the turn looks
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
	wait := caller.New()
	o.done = wait.Done
	began := w.c.now()
	conn, err := w.claimOrEnqueue(o, true)
	if err != nil {
		wait.Free()
		return err, false
	}
	if conn == nil || !w.callNow(ctx, conn, o, wait) {
		if err := wait.Wait(ctx, w.c.options.Timeout-time.Duration(w.c.now()-began)); err != nil {
			switch {
			case w.withdraw(o):
				wait.Free()
				return inTime(err), false
			case !wait.Told():
				return inTime(err), true // and wait is the operation's still
			}
		}
	}
	wait.Free()
	return o.err, o.maybe
}

// inTime is what a call returns for the reason why it did not wait longer.
func inTime(err error) error {
	if err == caller.ErrTimeout {
		return redisconn.Unavailable(err)
	}
	return err
}

// withdraw takes an operation out of the queue, unless it has left.
func (w *writer) withdraw(o *op) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.queued.Withdraw(o)
}
