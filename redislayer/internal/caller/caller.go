// Package caller is how a call waits for Redis: for the goroutine that has taken
// over its work, or for a reply that it reads itself.
package caller

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/channellayer/channellayer/redislayer/internal/resp"
)

// Caller is what one call waits with. Get one with [New].
type Caller struct {
	// Done is told when the work is done. It has room for one, so that nobody
	// waits to tell.
	Done    chan struct{}
	timeout *time.Timer
}

var free = sync.Pool{New: func() any {
	c := &Caller{make(chan struct{}, 1), time.NewTimer(time.Hour)}
	c.timeout.Stop()
	return c
}}

// New returns a Caller whose Done was not told.
func New() *Caller { return free.Get().(*Caller) }

// Free lets another call use it. Nobody else may have to do with it any more:
// Done was told and read, or will not be told.
func (c *Caller) Free() { free.Put(c) }

// ErrTimeout is the error of work that was not done within the timeout.
var ErrTimeout = errors.New("no answer within the timeout")

// Wait waits until Done is told. The error is ctx's, or [ErrTimeout] after the
// timeout.
func (c *Caller) Wait(ctx context.Context, timeout time.Duration) error {
	c.timeout.Reset(timeout)
	defer c.timeout.Stop()
	select {
	case <-c.Done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-c.timeout.C:
		return ErrTimeout
	}
}

// Told reports, once, whether Done was told.
func (c *Caller) Told() bool {
	select {
	case <-c.Done:
		return true
	default:
		return false
	}
}

// ReadUntil has read take replies from the pipe, and interrupts it when ctx
// ends. Meanwhile nobody else may tell Done. If one of ctx's own methods panics,
// leave is called on the way out: others may wait for the connection.
func (c *Caller) ReadUntil(ctx context.Context, pipe *resp.Pipe, read func() error, leave func()) (interrupted bool, err error) {
	panicking := true
	defer func() {
		if panicking {
			leave()
		}
	}()
	var stop func() bool
	if ctx.Done() != nil {
		stop = context.AfterFunc(ctx, func() {
			pipe.Interrupt()
			c.Done <- struct{}{}
		})
	}
	err = read()
	if stop != nil && !stop() {
		<-c.Done // the pipe is not touched any more
		interrupted = true
	}
	panicking = false
	return interrupted, err
}
