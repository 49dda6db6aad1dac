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
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/channellayer/channellayer/groups"
	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/layer/mailbox"
)

// Options configures a Layer. The zero value means the defaults.
type Options struct {
	// Limits bounds what channels hold, and for how long. MaxMessageSize is by
	// default what the server's max_payload allows, 4 MiB at most.
	Limits layer.Limits

	// Observer is told of drops, gaps and abandoned channels.
	Observer layer.Observer

	// Prefix is the first token of every subject. Default "channellayer".
	Prefix string

	// Timeout bounds what waits for NATS. Default 5 s.
	Timeout time.Duration

	// Pending is how many messages may wait in this process to be put into
	// mailboxes. Beyond it they are dropped, counted as [layer.DropFull], and
	// a gap is reported. Default 65536.
	Pending int

	// GapMessage is given to every channel of this layer after a gap, so that
	// clients look anew. Default none.
	GapMessage layer.Message

	// NATS is for the connection: credentials, TLS. Reconnecting, buffering
	// and echo are the layer's business.
	NATS []nats.Option
}

// Layer is a [layer.Layer] over one NATS connection. Make one with [Open].
type Layer struct {
	options   Options
	limits    layer.Limits
	process   string // this layer's, random: a token in its channels' names and its subject
	made      atomic.Uint64
	mailboxes *mailbox.Set
	groups    *groups.Groups // of this layer's own channels
	counters

	conn *nats.Conn
	in   chan *nats.Msg // of all subscriptions: one queue keeps the connection's order

	mu      sync.RWMutex
	subs    map[interest]*subscription
	adopted map[string]map[string]time.Time // until when normal channels are in groups through this layer
	normal  map[string]*demand              // for messages of normal channels
	gone    map[string]time.Time            // when NATS said that a process is not there

	closed  atomic.Bool
	ended   chan struct{} // closed with the connection
	running sync.WaitGroup
}

var (
	_ layer.Layer         = (*Layer)(nil)
	_ layer.Releaser      = (*Layer)(nil)
	_ layer.Pinger        = (*Layer)(nil)
	_ layer.BatchReceiver = (*Layer)(nil)
	_ layer.Statser       = (*Layer)(nil)
)

// Open connects to the NATS servers at url (several with commas between) and
// returns once it has subscribed. From then on it reconnects by itself, for as
// long as it takes.
//
// Errors: [layer.ErrInvalidOption], also for a MaxMessageSize above the
// server's max_payload; those of [nats.Connect]; ctx's.
func Open(ctx context.Context, url string, options Options) (*Layer, error) {
	options.Prefix = cmp.Or(options.Prefix, "channellayer")
	options.Timeout = cmp.Or(options.Timeout, 5*time.Second)
	options.Pending = cmp.Or(options.Pending, 1<<16)
	if options.Timeout < 0 || options.Pending < 0 || layer.ValidateGroup(options.Prefix) != nil {
		return nil, fmt.Errorf("natslayer: %w: Timeout %v, Pending %d, Prefix %q", layer.ErrInvalidOption, options.Timeout, options.Pending, options.Prefix)
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	l := &Layer{
		options: options,
		process: rand.Text()[:20],
		in:      make(chan *nats.Msg, options.Pending),
		subs:    map[interest]*subscription{},
		adopted: map[string]map[string]time.Time{},
		normal:  map[string]*demand{},
		gone:    map[string]time.Time{},
		ended:   make(chan struct{}),
	}
	var err error
	if l.limits, err = options.Limits.WithDefaults(); err != nil {
		return nil, err
	}
	if l.groups, err = groups.New(groups.Options{Expiry: l.limits.GroupExpiry}); err != nil {
		return nil, err
	}
	observer := options.Observer
	observer.Abandoned = l.abandoned
	if l.mailboxes, err = mailbox.New(mailbox.Options{Limits: l.limits, Observer: observer}); err != nil {
		return nil, err
	}
	if err := l.connect(ctx, url); err != nil {
		l.mailboxes.Close()
		return nil, err
	}
	if err := l.start(ctx); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

func (l *Layer) start(ctx context.Context) error {
	room := int(l.conn.MaxPayload()) - maxAge // beside the message
	if l.options.Limits.MaxMessageSize == 0 {
		l.limits.MaxMessageSize = min(layer.DefaultMaxMessageSize, room)
	}
	if l.limits.MaxMessageSize > room {
		return fmt.Errorf("natslayer: %w: MaxMessageSize %d, and the server's max_payload leaves %d", layer.ErrInvalidOption, l.limits.MaxMessageSize, room)
	}
	l.running.Go(l.distribute)
	l.running.Go(l.keepHouse)
	for _, i := range []interest{{what: "process", name: l.process}, {what: "all", name: "processes"}} {
		if _, err := l.subscribe(i); err != nil {
			return err
		}
	}
	return l.flush(ctx)
}

// NewChannel implements [layer.Layer].
func (l *Layer) NewChannel(ctx context.Context, prefix string) (string, error) {
	if err := l.ready(ctx, layer.ValidatePrefix(prefix)); err != nil {
		return "", err
	}
	channel := cmp.Or(prefix, layer.DefaultPrefix) + "." + l.process + "!" + strconv.FormatUint(l.made.Add(1), 36)
	return channel, l.mailboxes.Open(channel)
}

// Receive implements [layer.Layer].
func (l *Layer) Receive(ctx context.Context, channel string) (layer.Message, error) {
	var buf [1]layer.Message
	_, err := l.ReceiveBatch(ctx, channel, buf[:])
	return buf[0], err
}

// ReceiveBatch implements [layer.BatchReceiver].
func (l *Layer) ReceiveBatch(ctx context.Context, channel string, buf []layer.Message) (int, error) {
	if !layer.IsProcessSpecific(channel) {
		return l.receiveNormal(ctx, channel, buf)
	}
	n, err := l.mailboxes.ReceiveBatch(ctx, channel, buf)
	if err == layer.ErrChannelGone && !l.owns(channel) {
		return 0, layer.ErrForeignChannel
	}
	return n, err
}

// Release implements [layer.Releaser].
func (l *Layer) Release(ctx context.Context, channel string) error {
	if err := l.ready(ctx, layer.ValidateChannel(channel)); err != nil {
		return err
	}
	if !layer.IsProcessSpecific(channel) {
		return &layer.Error{Op: "release", Name: channel, Err: layer.ErrInvalidName}
	}
	if !l.owns(channel) {
		return layer.ErrForeignChannel
	}
	l.mailboxes.Release(channel)
	l.leaveAll(channel)
	return nil
}

// Ping implements [layer.Pinger]: a round trip to the server.
func (l *Layer) Ping(ctx context.Context) error {
	if err := l.ready(ctx); err != nil {
		return err
	}
	return l.flush(ctx)
}

// Close implements [layer.Layer]. It drains the connection: what was published
// is sent, and what has arrived is put into the mailboxes, where it is counted.
func (l *Layer) Close() error {
	if !l.closed.CompareAndSwap(false, true) {
		return nil
	}
	if l.conn.Drain() != nil { // it is away: then there is nothing to drain
		l.conn.Close()
	}
	timeout := time.NewTimer(l.options.Timeout)
	defer timeout.Stop()
	select {
	case <-l.ended:
	case <-timeout.C:
		l.conn.Close()
		<-l.ended
	}
	l.running.Wait()
	l.mailboxes.Close()
	return nil
}

// abandoned is told by the mailboxes that nobody reads a channel any more.
func (l *Layer) abandoned(channel string) {
	l.leaveAll(channel)
	if l.options.Observer.Abandoned != nil {
		l.options.Observer.Abandoned(channel)
	}
}

// ready returns ctx's error, ErrClosed, or the first of errs.
func (l *Layer) ready(ctx context.Context, errs ...error) error {
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case l.closed.Load():
		return layer.ErrClosed
	}
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// problem says in the contract's words what an error of NATS means.
func (l *Layer) problem(ctx context.Context, err error) error {
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case l.closed.Load():
		return layer.ErrClosed
	case errors.Is(err, nats.ErrMaxPayload): // of another server than the first
		return layer.ErrMessageTooLarge
	}
	return fmt.Errorf("%w: %w", layer.ErrUnavailable, err)
}

func (l *Layer) owns(channel string) bool { return processOf(channel) == l.process }

// processOf returns the part of a process-specific channel's name that says
// which process made it.
func processOf(channel string) string {
	client, _, _ := strings.Cut(channel, "!")
	return client[strings.LastIndexByte(client, '.')+1:]
}
