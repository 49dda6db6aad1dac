package memlayer

import (
	"context"
	"crypto/rand"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/channellayer/channellayer/groups"
	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/layer/mailbox"
)

// Options configures a Layer. The zero value means the defaults.
type Options struct {
	// Limits bounds what channels hold, and for how long.
	Limits layer.Limits

	// Observer is told of messages that were dropped and of channels that were
	// abandoned. It never sees a gap: there is no broker to lose anything.
	Observer layer.Observer
}

// Layer is a [layer.Layer] within one process. Make one with [New]. Besides
// the methods of the contract it has all of the optional ones.
type Layer struct {
	limits    layer.Limits
	observer  layer.Observer
	mailboxes *mailbox.Set
	groups    *groups.Groups

	client   string        // what only this layer's channel names have before the '!'
	channels atomic.Uint64 // made so far

	groupSent  counter
	full, lost counter // dropped by group sends: for want of room, and for Close

	base  time.Time     // swept counts from here
	swept atomic.Int64  // when groups were last swept, in nanoseconds
	sweep chan struct{} // has room for one: they are to be swept

	closed      atomic.Bool
	stop        chan struct{}
	housekeeper sync.WaitGroup
}

var (
	_ layer.Layer         = (*Layer)(nil)
	_ layer.Flusher       = (*Layer)(nil)
	_ layer.Releaser      = (*Layer)(nil)
	_ layer.Pinger        = (*Layer)(nil)
	_ layer.BatchReceiver = (*Layer)(nil)
	_ layer.Statser       = (*Layer)(nil)
)

// New makes a layer. Close it to end its goroutines.
//
// Errors: [layer.ErrInvalidOption], which names the limit that is out of
// bounds.
func New(options Options) (*Layer, error) {
	limits, err := options.Limits.WithDefaults()
	if err != nil {
		return nil, err
	}
	l := &Layer{
		limits:   limits,
		observer: options.Observer,
		client:   "." + rand.Text() + "!",
		base:     time.Now(),
		sweep:    make(chan struct{}, 1),
		stop:     make(chan struct{}),
	}
	if l.groups, err = groups.New(groups.Options{Expiry: limits.GroupExpiry}); err != nil {
		return nil, err
	}
	observer := options.Observer
	observer.Abandoned = l.abandoned
	if l.mailboxes, err = mailbox.New(mailbox.Options{Limits: limits, Observer: observer}); err != nil {
		return nil, err
	}
	l.housekeeper.Go(l.sweepGroups)
	return l, nil
}

// NewChannel implements [layer.Layer].
func (l *Layer) NewChannel(ctx context.Context, prefix string) (string, error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	if err := layer.ValidatePrefix(prefix); err != nil {
		return "", err
	}
	if prefix == "" {
		prefix = layer.DefaultPrefix
	}
	channel := prefix + l.client + strconv.FormatUint(l.channels.Add(1), 36)
	if err := l.mailboxes.Open(channel); err != nil {
		return "", err
	}
	return channel, nil
}

// Send implements [layer.Layer]. A nil error means that the message is in the
// channel's mailbox, or with a receiver. Every error matches
// [layer.ErrNotSent].
func (l *Layer) Send(ctx context.Context, channel string, msg layer.Message) error {
	if err := ctx.Err(); err != nil {
		return layer.NotSent(err)
	}
	// The common case, without copying the limits. An invalid message has size 0.
	if size := msg.Size(); size == 0 || size > l.limits.MaxMessageSize {
		return l.limits.CheckMessage(msg)
	}
	return l.mailboxes.Put(channel, msg)
}

// Receive implements [layer.Layer].
func (l *Layer) Receive(ctx context.Context, channel string) (layer.Message, error) {
	msg, err := l.mailboxes.Receive(ctx, channel)
	return msg, l.receiveError(channel, err)
}

// ReceiveBatch implements [layer.BatchReceiver].
func (l *Layer) ReceiveBatch(ctx context.Context, channel string, buf []layer.Message) (int, error) {
	n, err := l.mailboxes.ReceiveBatch(ctx, channel, buf)
	return n, l.receiveError(channel, err)
}

func (l *Layer) receiveError(channel string, err error) error {
	if err == layer.ErrChannelGone && !l.owns(channel) {
		return layer.ErrForeignChannel
	}
	return err
}

// GroupAdd implements [layer.Layer].
func (l *Layer) GroupAdd(ctx context.Context, group, channel string) error {
	if err := l.checkMembership(ctx, group, channel); err != nil {
		return err
	}
	l.sweepIfDue()
	l.groups.AddWith(group, channel, l.mailboxes.Ref(channel))
	// Looked at after adding: a channel that goes away at the same time is
	// either seen to be gone here, or leaves its groups after this one.
	if l.owns(channel) && !l.mailboxes.Has(channel) {
		l.groups.Discard(group, channel)
		return l.closedOr(layer.ErrChannelGone)
	}
	return l.closedOr(nil)
}

// GroupDiscard implements [layer.Layer].
func (l *Layer) GroupDiscard(ctx context.Context, group, channel string) error {
	if err := l.checkMembership(ctx, group, channel); err != nil {
		return err
	}
	l.groups.Discard(group, channel)
	return nil
}

// ctxEvery is after how many members a group send looks at its ctx.
const ctxEvery = 1024

// GroupSend implements [layer.Layer]. A nil error means that the message is in
// the mailbox of every member that had room. An error matches
// [layer.ErrNotSent], but for that of a ctx that ended while more than a
// thousand members were being served: [layer.ErrMaybeSent], since the first of
// them have the message.
func (l *Layer) GroupSend(ctx context.Context, group string, msg layer.Message) error {
	if err := ctx.Err(); err != nil {
		return layer.NotSent(err)
	}
	if l.closed.Load() {
		return layer.NotSent(layer.ErrClosed)
	}
	if err := layer.ValidateGroup(group); err != nil {
		return err
	}
	if err := l.limits.CheckMessage(msg); err != nil {
		return err
	}
	walked := 0
	fan := l.mailboxes.Fan(msg, 0)
	for channel, value := range l.groups.MembersWith(group) {
		if walked++; walked%ctxEvery == 0 && ctx.Err() != nil {
			return layer.MaybeSent(ctx.Err())
		}
		ref, _ := value.(mailbox.Ref)
		switch err := fan.Put(channel, ref); err {
		case nil:
		case layer.ErrChannelFull:
			l.drop(&l.full, layer.DropFull, channel)
		case layer.ErrChannelGone: // another layer's: nothing here will ever reach it
			l.groups.Discard(group, channel)
		default: // the layer was closed meanwhile
			l.drop(&l.lost, layer.DropClosed, channel)
		}
	}
	l.groupSent.add(group, 1)
	return nil
}

func (l *Layer) drop(c *counter, reason layer.DropReason, channel string) {
	c.add(channel, 1)
	if l.observer.Dropped != nil {
		l.observer.Dropped(reason, channel, 1)
	}
}

// Release implements [layer.Releaser].
func (l *Layer) Release(ctx context.Context, channel string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := layer.ValidateChannel(channel); err != nil {
		return err
	}
	if !layer.IsProcessSpecific(channel) {
		return &layer.Error{Op: "release", Name: channel, Err: layer.ErrInvalidName}
	}
	if !l.owns(channel) {
		return layer.ErrForeignChannel
	}
	l.mailboxes.Release(channel)
	l.groups.DiscardChannel(channel)
	return l.closedOr(nil)
}

// Flush implements [layer.Flusher].
func (l *Layer) Flush(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	l.groups.Clear()
	l.mailboxes.Clear()
	return l.closedOr(nil)
}

// Ping implements [layer.Pinger]: the layer is ready until it is closed.
func (l *Layer) Ping(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return l.closedOr(nil)
}

// Stats implements [layer.Statser].
func (l *Layer) Stats() layer.Stats {
	boxes := l.mailboxes.Stats()
	stats := layer.Stats{
		Sent:      boxes.Accepted - boxes.Fanned,
		GroupSent: l.groupSent.sum(),
		Received:  boxes.Received,
		Abandoned: boxes.Abandoned,
		Dropped:   boxes.Dropped,
	}
	stats.Dropped[layer.DropFull] += l.full.sum()
	stats.Dropped[layer.DropClosed] += l.lost.sum()
	return stats
}

// Close implements [layer.Layer]. It waits for nothing but its own goroutines,
// which end at once.
func (l *Layer) Close() error {
	if !l.closed.CompareAndSwap(false, true) {
		return nil
	}
	close(l.stop)
	l.mailboxes.Close()
	l.housekeeper.Wait()
	l.groups.Clear()
	return nil
}

// abandoned is told by the mailboxes that nobody reads a channel any more.
func (l *Layer) abandoned(channel string) {
	l.groups.DiscardChannel(channel)
	if l.observer.Abandoned != nil {
		l.observer.Abandoned(channel)
	}
}

// sweepInterval is how often at most the memory of expired memberships is given
// back.
const sweepInterval = time.Minute

// sweepIfDue has the memory of expired memberships given back before more is
// taken. It is done when memberships are added, instead of by a ticker, because
// then only they can grow in number, and because a timer that runs costs every
// goroutine of the program that goes to sleep a look at the clock.
func (l *Layer) sweepIfDue() {
	now, last := int64(time.Since(l.base)), l.swept.Load()
	if now-last >= int64(sweepInterval) && l.swept.CompareAndSwap(last, now) {
		select {
		case l.sweep <- struct{}{}:
		default: // the last sweep has not even begun
		}
	}
}

func (l *Layer) sweepGroups() {
	for {
		select {
		case <-l.sweep:
			l.groups.Sweep()
		case <-l.stop:
			return
		}
	}
}

func (l *Layer) checkMembership(ctx context.Context, group, channel string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := layer.ValidateGroup(group); err != nil {
		return err
	}
	if err := layer.ValidateChannel(channel); err != nil {
		return err
	}
	return l.closedOr(nil)
}

// owns reports whether this layer made the channel, if it is process-specific.
func (l *Layer) owns(channel string) bool {
	return strings.HasSuffix(layer.ClientPrefix(channel), l.client)
}

func (l *Layer) closedOr(err error) error {
	if l.closed.Load() {
		return layer.ErrClosed
	}
	return err
}
