package consumer

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"
	"time"

	"github.com/channellayer/channellayer/layer"
)

// DefaultRenew is how often memberships are renewed unless Options.Renew says
// otherwise: half of [layer.DefaultGroupExpiry].
const DefaultRenew = 12 * time.Hour

// Options configure a Consumer. The zero value is valid: a consumer that
// dispatches nothing, for Receive.
type Options struct {
	// Prefix is what the channel's name begins with, as NewChannel takes it.
	// Default [layer.DefaultPrefix].
	Prefix string

	// Handlers are what Run calls, by message type: the string in the field
	// "type", or "" where there is none. The map is copied.
	Handlers map[string]Handler

	// Renew is how often the groups joined are added again, less up to a tenth
	// of it at random, because a membership ends [layer.Limits].GroupExpiry
	// after it was last added. Keep it at or below half of that. Default
	// DefaultRenew.
	Renew time.Duration

	// OnUnknown, if set, is told of each message whose type has no handler. It
	// runs as a handler does.
	OnUnknown func(layer.Message)

	// OnError, if set, is told of each error that a handler returned, of each
	// panic in one (a *[PanicError]), of [ErrGoexit], and, with the empty
	// message, of each error of the layer that the consumer met on its own
	// and tries again to get past (a *[layer.Error] that names the operation
	// and the channel or group). It is called by Run's goroutine, or by one
	// that renews memberships: possibly by both at once. It may use the
	// consumer, and must not panic.
	OnError func(layer.Message, error)
}

// Consumer is one process-specific channel, the groups it has joined, and
// handlers for what arrives. [Open] makes one, and Close must be called in the
// end. All methods may be called concurrently, and from handlers.
type Consumer struct {
	layer      layer.Layer
	channel    string
	renewEvery time.Duration
	dispatcher dispatcher

	close  func() error // once
	bounds bounds

	memberships memberships
}

// Open makes a channel on l and a consumer for it. ctx bounds the call, not
// the consumer.
//
// Errors: those of NewChannel, [layer.ErrInvalidOption].
func Open(ctx context.Context, l layer.Layer, o Options) (*Consumer, error) {
	const op = "consumer options"
	if l == nil {
		return nil, badOption(op, "Layer", "it is nil")
	}
	if o.Renew < 0 {
		return nil, badOption(op, "Renew", "%v is negative", o.Renew)
	}
	if o.Renew == 0 {
		o.Renew = DefaultRenew
	}
	c := &Consumer{layer: l, renewEvery: o.Renew}
	if err := c.dispatcher.init(op, o.Handlers, o.OnUnknown, o.OnError); err != nil {
		return nil, err
	}
	channel, err := l.NewChannel(ctx, o.Prefix)
	if err != nil {
		return nil, err
	}
	c.channel = channel
	c.close = sync.OnceValue(c.shut)
	c.memberships.turn = make(chan struct{}, 1)
	return c, nil
}

// Channel returns the name of the consumer's channel, for others to send to.
func (c *Consumer) Channel() string { return c.channel }

// Receive takes the next message, as [layer.Layer].Receive does. It does not
// dispatch it. Goroutines that receive at once, Run among them, share the
// messages: each goes to one of them.
//
// Errors: ctx's error, [layer.ErrClosed] once the consumer or its layer was
// closed, also while waiting, [layer.ErrChannelGone] if the channel was
// abandoned because nobody received for too long (rule 6 of the contract).
func (c *Consumer) Receive(ctx context.Context) (layer.Message, error) {
	if c.isClosed() {
		return layer.Message{}, c.reason(ctx, layer.ErrClosed)
	}
	b := c.bounds.beginReading(ctx)
	defer c.bounds.done(b)
	msg, err := c.layer.Receive(b.ctx, c.channel)
	return msg, c.reason(ctx, err)
}

// ReceiveBatch waits for a message as Receive does, then moves all that wait,
// up to len(buf), into buf, oldest first, and returns their number: see
// [layer.ReceiveBatch]. It suits whoever writes to a socket, which can then
// flush once for many.
func (c *Consumer) ReceiveBatch(ctx context.Context, buf []layer.Message) (int, error) {
	if c.isClosed() {
		return 0, c.reason(ctx, layer.ErrClosed)
	}
	b := c.bounds.beginReading(ctx)
	defer c.bounds.done(b)
	n, err := layer.ReceiveBatch(b.ctx, c.layer, c.channel, buf)
	return n, c.reason(ctx, err)
}

// Messages iterates over what Receive returns. It ends after the first error,
// which it yields last. Breaking out of it loses nothing.
func (c *Consumer) Messages(ctx context.Context) iter.Seq2[layer.Message, error] {
	return func(yield func(layer.Message, error) bool) {
		for {
			msg, err := c.Receive(ctx)
			if !yield(msg, err) || err != nil {
				return
			}
		}
	}
}

// Run receives messages and calls their handlers with ctx, one at a time, in
// the order of arrival, in the calling goroutine. It returns nil when ctx
// ends, and otherwise the error that ended it: [layer.ErrClosed] once the
// consumer or its layer was closed, [layer.ErrChannelGone] if the channel was
// abandoned. A handler under way is waited for. Any other error of the layer
// is reported to OnError, and Run goes on after a pause that grows from 0.1 to
// 10 seconds with each such error in a row.
//
// A handler that calls [runtime.Goexit] (as t.FailNow does) ends the calling
// goroutine, and so Run.
func (c *Consumer) Run(ctx context.Context) error {
	var pause backoff
	for {
		msg, err := c.Receive(ctx)
		switch {
		case err == nil:
			pause = backoff{}
			c.dispatcher.dispatch(ctx, msg)
		case ctx.Err() != nil:
			return nil
		case endsReceiving(err):
			return err
		default:
			c.dispatcher.retry("receive", c.channel, err)
			c.wait(ctx, pause.next())
		}
	}
}

// Stats returns the counts of what Run dispatched.
func (c *Consumer) Stats() Stats { return c.dispatcher.stats() }

// wait returns after d, or as soon as ctx or the consumer ends.
func (c *Consumer) wait(ctx context.Context, d time.Duration) {
	b := c.bounds.beginReading(ctx)
	defer c.bounds.done(b)
	sleep(b.ctx, d)
}

func (c *Consumer) isClosed() bool { return c.bounds.closed.Load() }

// reason says why a call failed, in the caller's terms: what the layer saw was
// a ctx that also ends at Close, or a channel that Close released.
func (c *Consumer) reason(ctx context.Context, err error) error {
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil && errors.Is(err, layer.ErrClosed):
		return ctx.Err()
	case ctx.Err() == nil && c.isClosed():
		return layer.ErrClosed
	}
	return err
}

func badOption(op, field, format string, args ...any) error {
	return &layer.Error{Op: op, Name: field, Err: fmt.Errorf("%w: "+format, append([]any{layer.ErrInvalidOption}, args...)...)}
}
