package process

import (
	"context"
	"crypto/rand"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/channellayer/channellayer/groups"
	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/layer/mailbox"
)

// DefaultGapSpread is over how long channels are told of a gap.
const DefaultGapSpread = 5 * time.Second

// Options configures a Process. The zero value means the defaults.
type Options struct {
	// Name is the process's name on the bus, for a wire that wants it to look a
	// certain way: up to 53 letters and digits, unique on the bus. Default 20
	// random ones.
	Name string

	// Limits bounds what channels hold, and for how long.
	Limits layer.Limits

	// Observer is told of drops, gaps and abandoned channels, without locks,
	// from whichever goroutine met them.
	Observer layer.Observer

	// Dropped, if set, is told in place of the Observer of what [Process.Drop]
	// counts, to pass it on: for a backend that meets it where nobody may have
	// to be waited for. What the mailboxes drop, the Observer is told all the
	// same.
	Dropped func(reason layer.DropReason, name string, count int)

	// GapMessage is given to every process-specific channel of this process
	// after a gap, so that clients look at the state of things anew: once
	// however many gaps there were meanwhile, and also to a full channel.
	// Default none.
	GapMessage layer.Message

	// GapSpread is over how long the channels get the GapMessage, each at a
	// random time: they will all ask for the state of things, and other
	// processes have met the gap, too. Default DefaultGapSpread.
	GapSpread time.Duration

	// GapEach bounds what each channel takes of the GapSpread, so that few
	// channels get the GapMessage sooner. Default no bound.
	GapEach time.Duration

	// Emptied is told of groups that lost their last member here because a
	// channel ended, or memberships expired. They may have members again since:
	// see the package documentation. It is called without locks, and must not
	// call Close. It may be nil.
	Emptied func(groups []string)
}

// Process is what one process of a bus keeps in memory: its channels and their
// memberships. Make one with [New].
type Process struct {
	options Options
	name    string
	made    atomic.Uint64 // channels

	mailboxes *mailbox.Set
	groups    *groups.Groups // of this process's channels
	adopted   *groups.Groups // of normal channels that were added here
	counters

	closed  atomic.Bool
	gapped  chan struct{} // has room for one: gaps while one is pending are one
	end     context.CancelFunc
	running sync.WaitGroup
}

// New makes a Process. It owns a goroutine or two, which end
// with Close.
//
// Errors: [layer.ErrInvalidOption], which names the field.
func New(options Options) (*Process, error) {
	var err error
	if options.Limits, err = options.Limits.WithDefaults(); err != nil {
		return nil, err
	}
	switch {
	case len(options.Name) > maxNameLength || strings.ContainsFunc(options.Name, isNoNameByte):
		return nil, badOption("Name", "%q is not up to %d letters and digits", options.Name, maxNameLength)
	case options.GapSpread < 0:
		return nil, badOption("GapSpread", "%v is negative", options.GapSpread)
	case options.GapEach < 0:
		return nil, badOption("GapEach", "%v is negative", options.GapEach)
	}
	if err := options.Limits.CheckMessage(options.GapMessage); err != nil {
		return nil, badOption("GapMessage", "%w", err)
	}
	if options.GapSpread == 0 {
		options.GapSpread = DefaultGapSpread
	}
	if options.Dropped == nil {
		options.Dropped = options.Observer.Dropped
	}
	if options.Name == "" {
		options.Name = rand.Text()[:nameLength]
	}
	p := &Process{options: options, name: options.Name, gapped: make(chan struct{}, 1)}
	if p.groups, err = groups.New(groups.Options{Expiry: options.Limits.GroupExpiry}); err != nil {
		return nil, err
	}
	if p.adopted, err = groups.New(groups.Options{Expiry: options.Limits.GroupExpiry}); err != nil {
		return nil, err
	}
	observer := options.Observer
	observer.Abandoned = p.abandoned
	if p.mailboxes, err = mailbox.New(mailbox.Options{Limits: options.Limits, Observer: observer}); err != nil {
		return nil, err
	}
	var ctx context.Context
	ctx, p.end = context.WithCancel(context.Background())
	p.running.Go(func() { p.sweepGroups(ctx) })
	if options.GapMessage.Len() > 0 {
		p.running.Go(func() { p.tellGaps(ctx) })
	}
	return p, nil
}

func badOption(field, format string, args ...any) error {
	return &layer.Error{Op: "process options", Name: field,
		Err: fmt.Errorf("%w: "+format, append([]any{layer.ErrInvalidOption}, args...)...)}
}

const (
	// nameLength is the length of a name that is not chosen: 100 random bits, in
	// letters and digits.
	nameLength = 20

	// maxNameLength leaves room for a prefix, '.', '!' and any number.
	maxNameLength = layer.MaxNameLength - layer.MaxPrefixLength - 2 - 13
)

func isNoNameByte(r rune) bool {
	return (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
}

// Name is the process's name: letters and digits, unique on the bus. It stands
// between '.' and '!' in the names of its channels.
func (p *Process) Name() string { return p.name }

// Of returns the name of the process that made a process-specific channel, if
// a Process made it, and "" for a normal one.
func Of(channel string) string {
	client := strings.TrimSuffix(layer.ClientPrefix(channel), "!")
	return client[strings.LastIndexByte(client, '.')+1:]
}

// Owns reports whether this process made the channel.
func (p *Process) Owns(channel string) bool {
	end := strings.IndexByte(channel, '!')
	if end < 0 {
		return false
	}
	before, ours := strings.CutSuffix(channel[:end], p.name) // Of would take longer
	return ours && (before == "" || before[len(before)-1] == '.')
}

// Limits returns the limits with their defaults.
func (p *Process) Limits() layer.Limits { return p.options.Limits }

// Mailboxes returns the process's mailboxes, for all that Process has no method
// for. To close them belongs to Close, but for a backend that after BeginClose
// still takes in what the broker holds: receivers then do not wait for that,
// and what is put into the mailboxes is counted as closed.
func (p *Process) Mailboxes() *mailbox.Set { return p.mailboxes }

// Groups returns the memberships of this process's channels.
func (p *Process) Groups() *groups.Groups { return p.groups }

// Adopted returns the memberships of normal channels that were added through
// this process. To Deliver they mean nothing: who serves them is the backend's
// to decide, and to renew them at the broker as long as this process lives.
func (p *Process) Adopted() *groups.Groups { return p.adopted }

// NewChannel does all of what [layer.Layer] asks for.
func (p *Process) NewChannel(ctx context.Context, prefix string) (string, error) {
	if err := p.Check(ctx, layer.ValidatePrefix(prefix)); err != nil {
		return "", err
	}
	if prefix == "" {
		prefix = layer.DefaultPrefix
	}
	channel := prefix + "." + p.name + "!" + strconv.FormatUint(p.made.Add(1), 36)
	if err := p.mailboxes.Open(channel); err != nil {
		return "", err
	}
	return channel, nil
}

// Receive receives from the channel's mailbox here, as [layer.Layer] asks: for
// all process-specific channels, and for normal ones that are held here.
func (p *Process) Receive(ctx context.Context, channel string) (layer.Message, error) {
	msg, err := p.mailboxes.Receive(ctx, channel)
	return msg, p.receiveError(channel, err)
}

// ReceiveBatch is Receive as [layer.BatchReceiver] asks.
func (p *Process) ReceiveBatch(ctx context.Context, channel string, buf []layer.Message) (int, error) {
	n, err := p.mailboxes.ReceiveBatch(ctx, channel, buf)
	return n, p.receiveError(channel, err)
}

func (p *Process) receiveError(channel string, err error) error {
	if err == layer.ErrChannelGone && !p.Owns(channel) {
		return layer.ErrForeignChannel
	}
	return err
}

// Release does all of what [layer.Releaser] asks for, and tells Options.Emptied.
func (p *Process) Release(ctx context.Context, channel string) error {
	if err := p.Check(ctx, layer.ValidateChannel(channel)); err != nil {
		return err
	}
	if !layer.IsProcessSpecific(channel) {
		return &layer.Error{Op: "release", Name: channel, Err: layer.ErrInvalidName}
	}
	if !p.Owns(channel) {
		return layer.ErrForeignChannel
	}
	p.mailboxes.Release(channel)
	p.emptied(p.groups.DiscardChannel(channel))
	if p.closed.Load() {
		return layer.ErrClosed
	}
	return nil // also if ctx has ended meanwhile: it is done
}

// Check returns what a call has to fail with before it does anything: ctx's
// error, [layer.ErrClosed], or the first of errs, which is where the checks of
// its arguments go.
func (p *Process) Check(ctx context.Context, errs ...error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if p.closed.Load() {
		return layer.ErrClosed
	}
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// CheckSend is Check for a send of msg, at which it looks, too: its limit, and
// whether it is one. Its errors match [layer.ErrNotSent].
func (p *Process) CheckSend(ctx context.Context, msg layer.Message, errs ...error) error {
	err := p.Check(ctx, errs...)
	// The common case without copying the limits. An invalid message has size 0.
	if size := msg.Size(); err == nil && (size == 0 || size > p.options.Limits.MaxMessageSize) {
		err = p.options.Limits.CheckMessage(msg)
	}
	return layer.NotSent(err)
}

// BeginClose lets Check refuse from now on, and reports whether it did not yet:
// whether it is for the caller to close the layer. Until Close, receivers wait
// and what arrives is delivered.
func (p *Process) BeginClose() bool { return p.closed.CompareAndSwap(false, true) }

// Close drops and counts what is unread, ends the channels, wakes every
// receiver with [layer.ErrClosed], and waits for the goroutines of the Process,
// which end at once unless a callback keeps them. Closing again does nothing.
func (p *Process) Close() {
	p.closed.Store(true)
	p.mailboxes.Close()
	p.end()
	p.running.Wait()
	p.groups.Clear()
	p.adopted.Clear()
}

// abandoned is told by the mailboxes that nobody reads a channel any more.
func (p *Process) abandoned(channel string) {
	p.emptied(p.groups.DiscardChannel(channel))
	if p.options.Observer.Abandoned != nil {
		p.options.Observer.Abandoned(channel)
	}
}

func (p *Process) emptied(groups []string) {
	if len(groups) > 0 && p.options.Emptied != nil {
		p.options.Emptied(groups)
	}
}

// groupSweep bounds how long the memory of an expired membership is kept.
const groupSweep = time.Minute

func (p *Process) sweepGroups(ctx context.Context) {
	ticker := time.NewTicker(max(min(groupSweep, p.options.Limits.GroupExpiry), time.Second))
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			p.emptied(p.groups.Sweep())
			p.adopted.Sweep()
		case <-ctx.Done():
			return
		}
	}
}
