package channelsredis

import (
	"context"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/layer/process"
	"github.com/channellayer/channellayer/redislayer/channelsredis/internal/redisconn"
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
	bus
	echoChannel string // which only this layer hears
	normals     *pubsubNormals
	hosts       []*pubsubHost
	news        *pubsubNews

	locks [64]sync.Mutex // of groups, by name: over whether it is subscribed to

	ended   <-chan struct{} // closed by cancel
	running sync.WaitGroup
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
	l := &PubSub{}
	l.normals = newPubSubNormals(l)
	l.news = &pubsubNews{dropped: o.Observer.Dropped, wake: make(chan struct{}, 1)}
	tells := process.Options{Observer: o.Observer, Emptied: l.emptied}
	if tell := o.Observer.Dropped; tell != nil {
		tells.Dropped = l.news.drop
		tells.Observer.Dropped = func(reason layer.DropReason, name string, count int) {
			if reason == layer.DropExpired { // found when a mailbox is looked at, also under locks of this layer
				l.news.drop(reason, name, count)
			} else {
				tell(reason, name, count)
			}
		}
	}
	if err := l.setUp(o, tells); err != nil {
		return nil, err
	}
	l.echoChannel = l.patternFor(layer.DefaultPrefix, "-echo") // which NewChannel never makes
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
	l.running.Go(func() { l.normals.run(ctx) })
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
	return open(ctx, urls, options, NewPubSub)
}

func (l *PubSub) waitConnected(ctx context.Context) error {
	for i, h := range l.hosts {
		err := l.waitHost(ctx, i, func() (bool, error) {
			live, cause := h.sub.connected()
			ready, down := h.pub.connected()
			if cause == nil {
				cause = down
			}
			if cause != nil {
				cause = redisconn.Unavailable(cause)
			}
			return live && ready, cause
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// patternFor is what all names of this layer's channels with that prefix match,
// or one of them. Names hold nothing that is special in a pattern.
func (l *PubSub) patternFor(prefix, local string) string {
	return prefix + "." + l.process.Name() + "!" + local
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
	channel, err := l.process.NewChannel(ctx, prefix)
	if err != nil {
		return "", err
	}
	if err := l.host(channel).sub.hear(ctx, layer.ClientPrefix(channel)+"*"); err != nil {
		l.process.Mailboxes().Release(channel)
		return "", err
	}
	return channel, nil
}

// Receive implements [layer.Layer]. On a normal channel it subscribes, and stays
// subscribed for Expiry after the last Receive has returned: a worker that comes
// back in time misses nothing.
func (l *PubSub) Receive(ctx context.Context, channel string) (layer.Message, error) {
	if layer.IsProcessSpecific(channel) {
		return l.process.Receive(ctx, channel)
	}
	var buf [1]layer.Message
	_, err := l.ReceiveBatch(ctx, channel, buf[:])
	return buf[0], err
}

// ReceiveBatch implements [layer.BatchReceiver].
func (l *PubSub) ReceiveBatch(ctx context.Context, channel string, buf []layer.Message) (int, error) {
	if layer.IsProcessSpecific(channel) {
		return l.process.ReceiveBatch(ctx, channel, buf)
	}
	if err := ctx.Err(); err != nil || len(buf) == 0 {
		return 0, err
	}
	if err := l.process.Check(ctx, l.validateChannel(channel)); err != nil {
		return 0, err
	}
	if err := l.normals.begin(ctx, channel); err != nil {
		return 0, err
	}
	defer l.normals.end(channel)
	return l.process.ReceiveBatch(ctx, channel, buf)
}

// Release implements [layer.Releaser].
func (l *PubSub) Release(ctx context.Context, channel string) error {
	return l.process.Release(ctx, channel)
}

// Ping implements [layer.Pinger]: it sends something to itself by way of each
// server.
func (l *PubSub) Ping(ctx context.Context) error {
	if err := l.process.Check(ctx); err != nil {
		return err
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
	if err := l.process.Check(ctx); err != nil {
		return err
	}
	for group := range l.process.Groups().All() {
		for channel := range l.process.Groups().Members(group) {
			l.leave(group, channel)
		}
	}
	l.process.Mailboxes().Clear()
	return nil
}

// Close implements [layer.Layer].
func (l *PubSub) Close() error {
	if !l.process.BeginClose() {
		return nil
	}
	l.process.Mailboxes().Close()
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
	l.process.Close()
	l.news.tell() // what came last
	closeHosts(l.owned)
	return nil
}
