package consumer

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/channellayer/channellayer/layer"
)

// Defaults of WorkerOptions.
const (
	DefaultConcurrency = 1
	DefaultStopTimeout = 10 * time.Second
)

// WorkerOptions configure a Worker. Channels must be given.
type WorkerOptions struct {
	// Channels are the normal channels to serve, each once. The slice is
	// copied.
	Channels []string

	// Concurrency is how many handlers run at once, over all channels. Only
	// with 1 are the messages of a channel handled in order. Default
	// DefaultConcurrency.
	Concurrency int

	// Handlers are what the worker calls, by message type: the string in the
	// field "type", or "" where there is none. The map is copied.
	Handlers map[string]Handler

	// StopTimeout is for how long, once Run stops, handlers go on with a ctx
	// that has not ended. Default DefaultStopTimeout.
	StopTimeout time.Duration

	// OnUnknown, if set, is told of each message whose type has no handler. It
	// runs as a handler does.
	OnUnknown func(layer.Message)

	// OnError, if set, is told of each error that a handler returned, of each
	// panic in one (a *[PanicError]), of [ErrGoexit], and, with the empty
	// message, of each error of Receive after which the worker tries again (a
	// *[layer.Error] that names the channel). Handlers' goroutines call it,
	// possibly several at once. It must not panic.
	OnError func(layer.Message, error)
}

// Worker serves normal channels, competing for their messages with the workers
// of other processes. All methods may be called concurrently.
type Worker struct {
	layer       layer.Layer
	channels    []string
	concurrency int
	stopTimeout time.Duration
	dispatcher  dispatcher
}

// NewWorker makes a worker, which does nothing until Run.
//
// Errors: [layer.ErrInvalidOption], [layer.ErrInvalidName].
func NewWorker(l layer.Layer, o WorkerOptions) (*Worker, error) {
	const op = "worker options"
	switch {
	case l == nil:
		return nil, badOption(op, "Layer", "it is nil")
	case len(o.Channels) == 0:
		return nil, badOption(op, "Channels", "there is none")
	case o.Concurrency < 0:
		return nil, badOption(op, "Concurrency", "%d is negative", o.Concurrency)
	case o.StopTimeout < 0:
		return nil, badOption(op, "StopTimeout", "%v is negative", o.StopTimeout)
	}
	for i, channel := range o.Channels {
		if err := layer.ValidateChannel(channel); err != nil {
			return nil, err
		}
		if layer.IsProcessSpecific(channel) {
			return nil, badOption(op, "Channels", "%q is process-specific: a Consumer serves such a channel", channel)
		}
		if slices.Contains(o.Channels[:i], channel) {
			return nil, badOption(op, "Channels", "%q is there twice", channel)
		}
	}
	w := &Worker{
		layer:       l,
		channels:    slices.Clone(o.Channels),
		concurrency: o.Concurrency,
		stopTimeout: o.StopTimeout,
	}
	if w.concurrency == 0 {
		w.concurrency = DefaultConcurrency
	}
	if w.stopTimeout == 0 {
		w.stopTimeout = DefaultStopTimeout
	}
	if err := w.dispatcher.init(op, o.Handlers, o.OnUnknown, o.OnError); err != nil {
		return nil, err
	}
	return w, nil
}

// Stats returns the counts of what the worker dispatched.
func (w *Worker) Stats() Stats { return w.dispatcher.stats() }

// Run serves the channels until ctx ends, which is how to stop it, or until
// the layer is closed. Then it takes no more messages and returns when every
// message that it took was handled: nil after ctx ended, otherwise the error
// that ended it ([layer.ErrClosed]). Any other error of Receive is reported to
// OnError; that channel is tried again after a pause that grows from 0.1 to 10
// seconds with each such error in a row.
//
// The ctx of handlers has ctx's values, but ends only when StopTimeout has
// passed since Run began to stop: then handlers should return soon, for Run
// waits for them however long they take. When it has passed, what was taken
// and not yet begun is still handled, with a ctx that has ended.
//
// Run may be called again, and at once: each call has its own handlers, up to
// Concurrency.
func (w *Worker) Run(ctx context.Context) error {
	receiving, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	handling, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()

	r := &run{
		Worker:   w,
		gate:     newGate(receiving, w.concurrency),
		messages: make(chan layer.Message),
		handling: handling,
	}
	for range w.concurrency {
		r.handlers.Go(r.handle)
	}
	var receivers sync.WaitGroup
	for _, channel := range w.channels {
		receivers.Go(func() {
			if err := r.receive(receiving, channel); err != nil {
				stop(err)
			}
		})
	}

	<-receiving.Done()
	deadline := time.AfterFunc(w.stopTimeout, cut)
	defer deadline.Stop()
	receivers.Wait()
	close(r.messages)
	r.handlers.Wait()
	r.gate.close()
	if ctx.Err() != nil {
		return nil
	}
	return context.Cause(receiving)
}

// run is one call of Run: a goroutine for each channel receives, and as many
// goroutines as Concurrency says handle what they are handed.
type run struct {
	*Worker
	gate *gate

	// messages has no buffer. Receivers with something to hand over wait in
	// line for a handler, which is what keeps a busy channel from starving
	// another.
	messages chan layer.Message

	handlers sync.WaitGroup
	handling context.Context
}

// receive hands over the channel's messages until ctx ends. It returns the
// error that makes going on pointless.
func (r *run) receive(ctx context.Context, channel string) error {
	var pause backoff
	buf := make([]layer.Message, max(1, r.concurrency/len(r.channels)))
	for {
		waiting, free := r.gate.wait()
		if ctx.Err() != nil {
			return nil
		}
		// A share of the free handlers, so that channels which all have
		// messages do not take many more than there are handlers for.
		n, err := layer.ReceiveBatch(waiting, r.layer, channel, buf[:max(1, free/len(r.channels))])
		switch {
		case err == nil:
			pause = backoff{}
			r.gate.take(n)
			for i := range n {
				r.messages <- buf[i]
				buf[i] = layer.Message{}
			}
		case waiting.Err() != nil: // stopped, or no handler is free
		case endsReceiving(err):
			return err
		default:
			r.dispatcher.retry("receive", channel, err)
			sleep(ctx, pause.next())
		}
	}
}

// handle is one handler's goroutine. If a handler ends it with
// runtime.Goexit, another takes its place.
func (r *run) handle() {
	done := false
	defer func() {
		if !done {
			r.handlers.Go(r.handle)
		}
	}()
	for msg := range r.messages {
		r.handleOne(msg)
	}
	done = true
}

func (r *run) handleOne(msg layer.Message) {
	defer r.gate.give()
	r.dispatcher.dispatch(r.handling, msg)
}
