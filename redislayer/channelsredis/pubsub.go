package channelsredis

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/channellayer/channellayer/groups"
	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/layer/mailbox"
)

// PubSub is a [layer.Layer] on the bus of
// channels_redis.pubsub.RedisPubSubChannelLayer. Make one with [NewPubSub] or
// [OpenPubSub]. Besides the methods of the contract it has all of the optional
// ones. EXCEPTIONS.md lists what of the contract Redis's PUBLISH and SUBSCRIBE
// cannot keep; the three that matter most:
//
//   - Redis keeps nothing. What is published while a process is not connected
//     is lost to it; that is a gap, which is reported ([layer.Observer].Gap),
//     and told to every channel that NewChannel made (Options.OnReconnect).
//   - A normal channel's message goes to every process that receives on it, not
//     to one of them.
//   - A process can add to groups only its own channels.
type PubSub struct {
	options Options
	limits  layer.Limits
	log     *slog.Logger
	fernet  *fernet // nil without keys

	client      string        // this layer's, random
	echoChannel string        // which only this layer hears
	made        atomic.Uint64 // channels so far
	mailboxes   *mailbox.Set
	groups      *groups.Groups
	normals     *pubsubNormals
	hosts       []*pubsubHost
	notices     *notices
	news        *pubsubNews
	counters    pubsubCounters

	locks [64]sync.Mutex // of groups, by name: over who is in one and whether it is subscribed to

	closed  atomic.Bool
	cancel  context.CancelFunc
	ended   <-chan struct{} // closed by cancel
	running sync.WaitGroup
	owned   []redis.UniversalClient // closed with the layer
}

// pubsubHost is one server of the bus.
type pubsubHost struct {
	l        *PubSub
	index    int
	settings *redis.Options
	pub      *publisher
	sub      *subscriber
}

var (
	_ layer.Layer         = (*PubSub)(nil)
	_ layer.Flusher       = (*PubSub)(nil)
	_ layer.Releaser      = (*PubSub)(nil)
	_ layer.Pinger        = (*PubSub)(nil)
	_ layer.BatchReceiver = (*PubSub)(nil)
	_ layer.Statser       = (*PubSub)(nil)
)

// NewPubSub makes a layer on the servers that Options.Hosts are configured for.
// It makes two connections to each, of its own, and returns without waiting for
// them. Until a server is reached, calls that need it fail with
// [layer.ErrUnavailable]; Ping tells.
//
// Errors: [layer.ErrInvalidOption], which names the option.
func NewPubSub(options Options) (*PubSub, error) {
	o, err := options.withDefaults()
	if err != nil {
		return nil, err
	}
	limits, err := o.limits()
	if err != nil {
		return nil, err
	}
	random := make([]byte, 16)
	rand.Read(random)
	l := &PubSub{
		options: o, limits: limits, log: o.Logger, fernet: newFernet(o.SymmetricEncryptionKeys),
		client: hex.EncodeToString(random),
	}
	l.echoChannel = l.patternFor(layer.DefaultPrefix, "-echo") // which NewChannel never makes
	l.normals = newPubSubNormals(l)
	l.news = &pubsubNews{observer: o.Observer, wake: make(chan struct{}, 1)}
	observer := o.Observer
	observer.Abandoned = l.abandoned
	if tell := observer.Dropped; tell != nil {
		observer.Dropped = func(reason layer.DropReason, name string, count int) {
			if reason == layer.DropExpired { // found when a mailbox is looked at, also under locks of this layer
				l.news.add(pubsubEvent{reason: reason, name: name, count: count})
				return
			}
			tell(reason, name, count)
		}
	}
	if l.mailboxes, err = mailbox.New(mailbox.Options{Limits: limits, Observer: observer}); err != nil {
		return nil, err
	}
	l.notices = newNotices(o, l.mailboxes, l.taken)
	if l.groups, err = groups.New(groups.Options{Expiry: limits.GroupExpiry}); err != nil {
		l.mailboxes.Close()
		return nil, err
	}
	var ctx context.Context
	ctx, l.cancel = context.WithCancel(context.Background())
	l.ended = ctx.Done()
	for i, client := range o.Hosts {
		h := &pubsubHost{l: l, index: i, settings: client.(*redis.Client).Options()}
		h.pub, h.sub = newPublisher(h), newSubscriber(h)
		h.sub.subscribe(l.patternFor(layer.DefaultPrefix, "*"), true)
		l.hosts = append(l.hosts, h)
	}
	for _, h := range l.hosts { // all are there when the first reads
		l.running.Go(func() { h.pub.run(ctx) })
		l.running.Go(func() { h.sub.run(ctx) })
		l.running.Go(func() { h.sub.probe(ctx) })
	}
	l.running.Go(func() { l.sweep(ctx) })
	l.running.Go(func() { l.notices.run(ctx) })
	l.running.Go(func() { l.normals.pass(ctx) })
	l.running.Go(func() { l.news.run(ctx) })
	return l, nil
}

// OpenPubSub makes a layer on the servers at the URLs (redis://, rediss:// or
// unix://; see [redis.ParseURL]), in the order of Python's hosts, and waits until
// all are connected, or ctx ends. The layer owns its clients and closes them.
//
// Errors: that of a URL or an option that is wrong; [SetupError] for a server
// that is too old or refuses; otherwise ctx's error and why a server could not
// be reached.
func OpenPubSub(ctx context.Context, urls []string, options Options) (*PubSub, error) {
	clients, err := openHosts(urls, options)
	if err != nil {
		return nil, err
	}
	options.Hosts = clients
	l, err := NewPubSub(options)
	if err != nil {
		closeHosts(clients)
		return nil, err
	}
	l.owned = clients
	if err := l.waitConnected(ctx); err != nil {
		l.cancel() // nothing is under way that Close should wait for
		l.Close()
		return nil, err
	}
	return l, nil
}

// waitConnected waits until all hosts are connected.
func (l *PubSub) waitConnected(ctx context.Context) error {
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for _, h := range l.hosts {
		for {
			live, cause := h.sub.connected()
			ready, down := h.pub.connected()
			if live && ready {
				break
			}
			if cause == nil {
				cause = down
			}
			if err := setupError(cause); err != nil {
				return err
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
				if cause != nil {
					return fmt.Errorf("%w: host %d: %w", layer.ErrUnavailable, h.index, joinCause(cause, ctx.Err()))
				}
				return ctx.Err()
			}
		}
	}
	return nil
}

// patternFor is what all names of this layer's channels with that prefix match,
// or one of them. Names hold nothing that is special in a pattern.
func (l *PubSub) patternFor(prefix, local string) string {
	return prefix + "." + l.client + "!" + local
}

// host is where Python publishes to a Redis channel, and subscribes to it.
func (l *PubSub) host(redisChannel string) *pubsubHost {
	return l.hosts[hostOf(redisChannel, len(l.hosts))]
}

// NewChannel implements [layer.Layer]. The channel hears what is sent to it from
// when NewChannel returns: the layer subscribes once to the names of all its
// channels with a prefix, so only the first use of a prefix waits for Redis. If
// that is away, NewChannel does not wait, and what is sent to the channel before
// Redis is back does not reach it.
func (l *PubSub) NewChannel(ctx context.Context, prefix string) (string, error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	if err := layer.ValidatePrefix(prefix); err != nil {
		return "", err
	}
	if prefix == "" {
		prefix = layer.DefaultPrefix
	}
	channel := l.patternFor(prefix, strconv.FormatUint(l.made.Add(1), 36))
	if err := l.mailboxes.Open(channel); err != nil {
		return "", err
	}
	if err := l.host(channel).sub.hear(ctx, l.patternFor(prefix, "*")); err != nil {
		l.mailboxes.Release(channel)
		return "", err
	}
	return channel, nil
}

// Receive implements [layer.Layer]. On a normal channel it subscribes, and stays
// subscribed for Expiry after the last Receive has returned: a worker that comes
// back in time misses nothing.
func (l *PubSub) Receive(ctx context.Context, channel string) (layer.Message, error) {
	var buf [1]layer.Message
	_, err := l.ReceiveBatch(ctx, channel, buf[:])
	return buf[0], err
}

// ReceiveBatch implements [layer.BatchReceiver].
func (l *PubSub) ReceiveBatch(ctx context.Context, channel string, buf []layer.Message) (int, error) {
	if layer.IsProcessSpecific(channel) {
		n, err := l.mailboxes.ReceiveBatch(ctx, channel, buf)
		if err == layer.ErrChannelGone && !l.owns(channel) {
			return 0, layer.ErrForeignChannel
		}
		return n, err
	}
	if err := ctx.Err(); err != nil || len(buf) == 0 {
		return 0, err
	}
	if err := l.validateChannel(channel); err != nil {
		return 0, err
	}
	if l.closed.Load() {
		return 0, layer.ErrClosed
	}
	if err := l.normals.begin(ctx, channel); err != nil {
		return 0, err
	}
	defer l.normals.end(channel)
	return l.mailboxes.ReceiveBatch(ctx, channel, buf)
}

// Release implements [layer.Releaser].
func (l *PubSub) Release(ctx context.Context, channel string) error {
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
	l.leaveAll(channel)
	return l.closedOr(nil)
}

// Ping implements [layer.Pinger]: it sends something to itself by way of each
// server.
func (l *PubSub) Ping(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if l.closed.Load() {
		return layer.ErrClosed
	}
	err := within(ctx, l.options.Timeout, func(ctx context.Context) error {
		for _, h := range l.hosts {
			if err := h.ping(ctx); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return l.closedOr(err)
	}
	return nil
}

// Flush implements [layer.Flusher] for this process: it drops its unread
// messages and ends its memberships. As with channels_redis, other processes
// hear nothing of it.
func (l *PubSub) Flush(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if l.closed.Load() {
		return layer.ErrClosed
	}
	for group := range l.groups.All() {
		for channel := range l.groups.Members(group) {
			l.leave(group, channel)
		}
	}
	l.mailboxes.Clear()
	return nil
}

// Close implements [layer.Layer].
func (l *PubSub) Close() error {
	if !l.closed.CompareAndSwap(false, true) {
		return nil
	}
	l.mailboxes.Close()
	limit := time.NewTimer(l.options.Timeout)
	defer limit.Stop()
	for _, h := range l.hosts {
		h.pub.close()
	}
	for _, h := range l.hosts {
		select {
		case <-h.pub.done:
		case <-limit.C:
			limit.Reset(0) // the others get no more time
		}
	}
	l.cancel()
	l.running.Wait()
	l.news.tell() // what came last
	closeHosts(l.owned)
	return nil
}

// abandoned is told by the mailboxes that nobody reads a channel any more.
func (l *PubSub) abandoned(channel string) {
	l.leaveAll(channel)
	if l.options.Observer.Abandoned != nil {
		l.options.Observer.Abandoned(channel)
	}
}

// sweep gives back what has expired.
func (l *PubSub) sweep(ctx context.Context) {
	groups := time.NewTicker(max(min(time.Minute, l.options.GroupExpiry), time.Second))
	defer groups.Stop()
	normals := time.NewTicker(max(min(time.Second, l.options.Expiry/4), 10*time.Millisecond))
	defer normals.Stop()
	for {
		select {
		case <-groups.C:
			for _, group := range l.groups.Sweep() {
				l.unsubscribeEmpty(group)
			}
		case <-normals.C:
			l.normals.sweep()
		case <-ctx.Done():
			return
		}
	}
}

func (l *PubSub) owns(channel string) bool {
	_, rest, _ := strings.Cut(layer.ClientPrefix(channel), l.client)
	return rest == "!"
}

func (l *PubSub) closedOr(err error) error {
	if l.closed.Load() {
		return layer.ErrClosed
	}
	return err
}
