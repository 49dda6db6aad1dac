package consumer

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/channellayer/channellayer/layer"
)

// Handler handles one message. An error it returns is reported to OnError; the
// message is not delivered again. So is a panic, which is contained.
type Handler func(ctx context.Context, msg layer.Message) error

// ErrGoexit is reported for a handler that called [runtime.Goexit].
var ErrGoexit = errors.New("consumer: handler called runtime.Goexit")

// PanicError is reported for a handler that panicked.
type PanicError struct {
	Value any    // what it panicked with
	Stack []byte // where, as [debug.Stack] prints it
}

// Error returns the panic's value as text, without the stack.
func (e *PanicError) Error() string { return fmt.Sprintf("consumer: handler panicked: %v", e.Value) }

// Unwrap returns the value that the handler panicked with, if it is an error.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}

// Stats counts what became of messages taken by Run, and errors, since the
// consumer or worker was made. The counts only grow, and are kept whether or
// not OnUnknown and OnError are set.
type Stats struct {
	Handled uint64 // messages whose handler returned nil
	Failed  uint64 // messages whose handler returned an error, panicked, or called runtime.Goexit
	Unknown uint64 // messages whose type has no handler
	Retried uint64 // errors of the layer after which the operation was tried again
}

// dispatcher calls handlers by message type and contains what they do.
type dispatcher struct {
	handlers  map[string]Handler
	onUnknown func(layer.Message)
	onError   func(layer.Message, error)

	handled, failed, unknown, retried atomic.Uint64
}

func (d *dispatcher) init(op string, handlers map[string]Handler, onUnknown func(layer.Message), onError func(layer.Message, error)) error {
	for kind, h := range handlers {
		if h == nil {
			return badOption(op, "Handlers", "the handler for %q is nil", kind)
		}
	}
	d.handlers = maps.Clone(handlers)
	d.onUnknown, d.onError = onUnknown, onError
	return nil
}

// dispatch calls the message's handler. It returns normally unless the handler
// calls runtime.Goexit, which nothing can stop.
func (d *dispatcher) dispatch(ctx context.Context, msg layer.Message) {
	returned := false
	defer func() {
		if returned {
			return
		}
		if value := recover(); value != nil {
			d.fail(msg, &PanicError{value, debug.Stack()})
		} else {
			d.fail(msg, ErrGoexit)
		}
	}()
	err, known := d.call(ctx, msg)
	returned = true
	switch {
	case err != nil:
		d.fail(msg, err)
	case known:
		d.handled.Add(1)
	}
}

// call leaves counting a message that is handled to its caller, because it may
// not return.
func (d *dispatcher) call(ctx context.Context, msg layer.Message) (err error, known bool) {
	if h, ok := d.handlers[msg.Type()]; ok {
		return h(ctx, msg), true
	}
	d.unknown.Add(1)
	if d.onUnknown != nil {
		d.onUnknown(msg)
	}
	return nil, false
}

func (d *dispatcher) fail(msg layer.Message, err error) {
	d.failed.Add(1)
	if d.onError != nil {
		d.onError(msg, err)
	}
}

// retry reports an error of the layer that is not the end.
func (d *dispatcher) retry(op, name string, err error) {
	d.retried.Add(1)
	if d.onError != nil {
		d.onError(layer.Message{}, &layer.Error{Op: op, Name: name, Err: err})
	}
}

func (d *dispatcher) stats() Stats {
	return Stats{
		Handled: d.handled.Load(),
		Failed:  d.failed.Load(),
		Unknown: d.unknown.Load(),
		Retried: d.retried.Load(),
	}
}

// endsReceiving tells the errors of Receive that trying again cannot help.
func endsReceiving(err error) bool {
	for _, final := range []error{layer.ErrClosed, layer.ErrChannelGone, layer.ErrForeignChannel, layer.ErrInvalidName} {
		if errors.Is(err, final) {
			return true
		}
	}
	return false
}

const (
	firstPause   = 100 * time.Millisecond
	longestPause = 10 * time.Second
)

// backoff is how long to wait after each of several errors in a row.
type backoff struct{ last time.Duration }

// next doubles the pause, and returns between half of it and all.
func (b *backoff) next() time.Duration {
	b.last = min(max(2*b.last, firstPause), longestPause)
	return b.last - rand.N(b.last/2)
}

func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
