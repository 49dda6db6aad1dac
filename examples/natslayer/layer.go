// Package natslayer is a channel layer on core NATS, written as an outsider
// would write one, from the library's public packages only. README.md tells how,
// step by step, and what it cannot do.
//
// A [Layer] is one connection to NATS. What it calls a process is a subject, a
// group is a subject to which processes with members subscribe, and messages of
// a normal channel wait in the process that sent them until a receiver asks.
// It recovers from lost connections by itself, and reports them as gaps. It
// does nothing about who may use the bus: whoever may publish under the prefix
// may send to anyone.
package natslayer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/layer/exchange"
	"github.com/channellayer/channellayer/layer/process"
)

// Options configures a Layer. The zero value means the defaults.
type Options struct {
	// Limits bounds what channels hold, and for how long. MaxMessageSize is by
	// default what the server's max_payload allows, 4 MiB at most.
	Limits layer.Limits

	Observer   layer.Observer // told of drops, gaps and abandoned channels
	GapMessage layer.Message  // given to every channel after a gap; see [process.Options]
	GapSpread  time.Duration  // over so long; default 5 s

	Prefix  string        // what every subject begins with; default "channellayer"
	Timeout time.Duration // bounds what waits for NATS; default 5 s

	// NATS is for the connection: credentials, TLS; [nats.SyncQueueLen] is how
	// many messages may wait to be put into mailboxes. Beyond it they are
	// dropped, counted as [layer.DropFull], and a gap is reported. Default
	// 65536. Reconnecting, buffering and echo are the layer's business.
	NATS []nats.Option
}

// Layer is a [layer.Layer] over one NATS connection. Make one with [Open].
type Layer struct {
	options Options
	process *process.Process   // its channels and memberships
	normal  *exchange.Exchange // normal channels

	conn       *nats.Conn
	in         chan *nats.Msg // of all subscriptions: one queue keeps the connection's order
	alive      atomic.Int64   // when the server was last known to be there
	reconnects atomic.Uint64  // reported
	done       chan struct{}  // closed when the connection has ended, and all is distributed
	running    sync.WaitGroup

	mu   sync.RWMutex
	subs map[[2]string]*subscription // by subject and queue
	gone map[string]bool             // processes of which NATS has said within the last second that they are not there
	lost int                         // dropped by nats.go for these subscriptions, as far as reported
}

var _ layer.Layer = (*Layer)(nil)
var _ layer.Releaser = (*Layer)(nil)
var _ layer.Pinger = (*Layer)(nil)
var _ layer.BatchReceiver = (*Layer)(nil)
var _ layer.Statser = (*Layer)(nil)

// Open connects to the NATS servers at url (several with commas between) and
// returns once it has subscribed. From then on it reconnects by itself, for as
// long as it takes.
//
// Errors: [layer.ErrInvalidOption], also for a MaxMessageSize above the
// server's max_payload; those of [nats.Connect]; ctx's.
func Open(ctx context.Context, url string, options Options) (l *Layer, err error) {
	options.Prefix = cmp.Or(options.Prefix, "channellayer")
	options.Timeout = cmp.Or(options.Timeout, 5*time.Second)
	if options.Timeout < 0 || layer.ValidateGroup(options.Prefix) != nil {
		return nil, fmt.Errorf("natslayer: %w: Timeout %v, Prefix %q", layer.ErrInvalidOption, options.Timeout, options.Prefix)
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	l = &Layer{options: options, done: make(chan struct{}), subs: map[[2]string]*subscription{}, gone: map[string]bool{}}
	if err := l.connect(ctx, url); err != nil {
		return nil, err
	}
	if err := l.assemble(); err != nil {
		l.conn.Close()
		return nil, err
	}
	l.running.Go(l.distribute)
	l.running.Go(l.keepHouse)
	_, err1 := l.subscribe(l.subject("process", l.process.Name())+".>", "", always)
	_, err2 := l.subscribe(l.subject("all", "processes"), "", always)
	if err = cmp.Or(err1, err2, l.flush(ctx)); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// assemble makes the parts that know nothing of NATS.
func (l *Layer) assemble() (err error) {
	limits, room := l.options.Limits, int(l.conn.MaxPayload())-maxAge // beside the message
	limits.MaxMessageSize = cmp.Or(limits.MaxMessageSize, min(layer.DefaultMaxMessageSize, room))
	if limits.MaxMessageSize > room {
		return fmt.Errorf("natslayer: %w: MaxMessageSize %d, and the server's max_payload leaves %d", layer.ErrInvalidOption, limits.MaxMessageSize, room)
	}
	l.process, err = process.New(process.Options{Limits: limits, Observer: l.options.Observer,
		GapMessage: l.options.GapMessage, GapSpread: l.options.GapSpread})
	if err != nil {
		return err
	}
	l.normal = exchange.New(l.process, broker{l})
	l.in = make(chan *nats.Msg, l.conn.Opts.SubChanLen)
	l.conn.SetClosedHandler(func(*nats.Conn) { close(l.in) })
	l.conn.SetReconnectHandler(l.reconnected) // before, there was nothing to lose
	return nil
}

// NewChannel implements [layer.Layer].
func (l *Layer) NewChannel(ctx context.Context, prefix string) (string, error) {
	return l.process.NewChannel(ctx, prefix)
}

// Receive implements [layer.Layer].
func (l *Layer) Receive(ctx context.Context, channel string) (layer.Message, error) {
	var buf [1]layer.Message
	_, err := l.ReceiveBatch(ctx, channel, buf[:])
	return buf[0], err
}

// ReceiveBatch implements [layer.BatchReceiver].
func (l *Layer) ReceiveBatch(ctx context.Context, channel string, buf []layer.Message) (int, error) {
	if layer.IsProcessSpecific(channel) {
		return l.process.ReceiveBatch(ctx, channel, buf)
	}
	return l.normal.Receive(ctx, channel, buf)
}

// Release implements [layer.Releaser].
func (l *Layer) Release(ctx context.Context, channel string) error {
	return l.process.Release(ctx, channel)
}

// Stats implements [layer.Statser].
func (l *Layer) Stats() layer.Stats { return l.process.Stats() }

// Ping implements [layer.Pinger]: a round trip to the server.
func (l *Layer) Ping(ctx context.Context) error { return l.flush(ctx) }

// Close implements [layer.Layer]. It drains the connection: what was published
// is sent, and what has arrived is put into the mailboxes, where it is counted.
func (l *Layer) Close() error {
	if !l.process.BeginClose() {
		return nil
	}
	if l.conn.Drain() != nil { // it is away: then there is nothing to drain
		l.conn.Close()
	}
	timeout := time.AfterFunc(l.options.Timeout, l.conn.Close)
	defer timeout.Stop()
	<-l.done
	l.running.Wait()
	l.process.Close()
	return nil
}

// problem says in the contract's words what an error of NATS means.
func (l *Layer) problem(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if err := l.process.Check(ctx); err != nil {
		return err
	}
	if errors.Is(err, nats.ErrMaxPayload) { // of another server than the first
		return layer.ErrMessageTooLarge
	}
	return fmt.Errorf("%w: %w", layer.ErrUnavailable, err)
}
