package redislayer

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	neturl "net/url"
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

// Layer is a [layer.Layer] over Redis. Make one with [New] or [Open]. Besides
// the methods of the contract it has all of the optional ones.
type Layer struct {
	options Options
	log     *slog.Logger
	keys    keys
	base    time.Time

	process   string        // this layer's, random
	channels  atomic.Uint64 // made so far
	mailboxes *mailbox.Set
	groups    *groups.Groups // of this process's channels
	adopted   *groups.Groups // memberships of normal channels that were added here

	session  *session
	cluster  *cluster // nil on a single server
	reader   *reader
	queues   *queues
	requests *requests
	notice   *gapNotice
	counters counters

	closed  atomic.Bool
	cancel  context.CancelFunc
	running sync.WaitGroup
	owned   redis.UniversalClient // closed with the layer; nil if the user's
}

var (
	_ layer.Layer         = (*Layer)(nil)
	_ layer.Flusher       = (*Layer)(nil)
	_ layer.Releaser      = (*Layer)(nil)
	_ layer.Pinger        = (*Layer)(nil)
	_ layer.BatchReceiver = (*Layer)(nil)
	_ layer.Statser       = (*Layer)(nil)
)

// New makes a layer on a server that the client is configured for: a single
// one or one found by Sentinel ([redis.NewClient], [redis.NewFailoverClient]),
// or a Cluster ([redis.NewClusterClient]). The layer makes connections of its
// own with the client's settings, but for retries and timeouts, and does not
// use the client's pool. The client stays the caller's to close, after the layer.
//
// It returns without waiting for the server. Until that is reached, calls that
// need it fail with [layer.ErrUnavailable]; Ping tells.
//
// Errors: [layer.ErrInvalidOption], which names the option.
func New(client redis.UniversalClient, options Options) (*Layer, error) {
	o, err := options.withDefaults()
	if err != nil {
		return nil, err
	}
	l := &Layer{
		options: o, log: o.Logger, keys: keys{prefix: o.Prefix}, base: time.Now(),
		process: rand.Text()[:20],
	}
	var source source
	if ofCluster, ok := client.(*redis.ClusterClient); ok {
		l.keys.cluster = true
		l.cluster = newCluster(l, ofCluster.Options())
		source = l.cluster.home()
	} else if source, err = newSource(client); err != nil {
		return nil, err
	}
	observer := o.Observer
	observer.Abandoned = l.abandoned
	if l.mailboxes, err = mailbox.New(mailbox.Options{Limits: o.Limits, Observer: observer}); err != nil {
		return nil, err
	}
	if l.groups, err = groups.New(groups.Options{Expiry: o.Limits.GroupExpiry}); err != nil {
		return nil, err
	}
	if l.adopted, err = groups.New(groups.Options{Expiry: o.Limits.GroupExpiry}); err != nil {
		return nil, err
	}
	l.reader = newReader(l, source)
	l.session = newSession(l, source)
	l.queues = newQueues(l)
	l.requests = newRequests(l)
	l.notice = newGapNotice(l)

	var ctx context.Context
	ctx, l.cancel = context.WithCancel(context.Background())
	if l.cluster != nil {
		l.cluster.ctx = ctx
		l.running.Go(func() { l.cluster.run(ctx) })
	}
	l.running.Go(func() { l.session.run(ctx) })
	var reading context.Context
	reading, l.reader.cancel = context.WithCancel(ctx)
	l.running.Go(func() { l.reader.run(reading) })
	l.running.Go(func() { l.sweep(ctx) })
	if o.GapMessage.Len() > 0 {
		l.running.Go(func() { l.notice.run(ctx) })
	}
	return l, nil
}

// Open makes a layer on the server at url (redis://, rediss:// or unix://; see
// [redis.ParseURL]) and waits until it is connected, or ctx ends. The layer
// owns its client and closes it.
//
// Errors: that of a url or an option that is wrong; [SetupError] for a server
// that is too old or refuses; otherwise ctx's error and why the server could
// not be reached.
func Open(ctx context.Context, url string, options Options) (*Layer, error) {
	o, err := redis.ParseURL(url)
	if err != nil {
		var inURL *neturl.Error // repeats the URL, and with it the password
		if errors.As(err, &inURL) {
			err = inURL.Err
		}
		return nil, &layer.Error{Op: "redislayer url", Err: err}
	}
	client := redis.NewClient(o)
	l, err := New(client, options)
	if err != nil {
		client.Close()
		return nil, err
	}
	l.owned = client
	if err := l.waitConnected(ctx); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// waitConnected waits until the session is connected, its set-up turns out to
// be wrong, or ctx ends.
func (l *Layer) waitConnected(ctx context.Context) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !l.session.connected.Load() {
		var setup *SetupError
		if cause := l.session.cause(); errors.As(cause, &setup) {
			return cause
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			if cause := l.session.cause(); cause != nil {
				return fmt.Errorf("%w: %w", cause, ctx.Err())
			}
			return ctx.Err()
		}
	}
	return nil
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
	channel := prefix + "." + l.process + "!" + strconv.FormatUint(l.channels.Add(1), 36)
	if err := l.mailboxes.Open(channel); err != nil {
		return "", err
	}
	return channel, nil
}

// Receive implements [layer.Layer].
func (l *Layer) Receive(ctx context.Context, channel string) (layer.Message, error) {
	if !layer.IsProcessSpecific(channel) {
		var buf [1]layer.Message
		_, err := l.receiveNormal(ctx, channel, buf[:])
		return buf[0], err
	}
	msg, err := l.mailboxes.Receive(ctx, channel)
	if err == layer.ErrChannelGone && !l.owns(channel) {
		err = layer.ErrForeignChannel
	}
	return msg, err
}

// ReceiveBatch implements [layer.BatchReceiver]. From a normal channel it
// takes one message: other processes' receivers get the rest.
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

func (l *Layer) receiveNormal(ctx context.Context, channel string, buf []layer.Message) (int, error) {
	if err := ctx.Err(); err != nil || len(buf) == 0 {
		return 0, err
	}
	if err := layer.ValidateChannel(channel); err != nil {
		return 0, err
	}
	if l.closed.Load() {
		return 0, layer.ErrClosed
	}
	channel = strings.Clone(channel)
	if l.cluster != nil {
		return l.cluster.lines.receive(ctx, channel, buf[:1])
	}
	return l.queues.receive(ctx, channel, buf[:1])
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
	l.leaveAll(channel)
	return l.closedOr(nil)
}

// Ping implements [layer.Pinger]: it makes a round trip to Redis. On a Cluster
// that is to the node of the process's inbox; it also fails if another master
// is known to be away.
func (l *Layer) Ping(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	err := l.session.do(ctx, &op{what: opPing})
	if err == nil && l.cluster != nil {
		err = layer.NotSent(l.cluster.away())
	}
	return err
}

// Close implements [layer.Layer]. It removes the process's keys and entries at
// Redis if that can be reached within the timeout; otherwise they end with
// their lease.
func (l *Layer) Close() error {
	if !l.closed.CompareAndSwap(false, true) {
		return nil
	}
	l.mailboxes.Close()
	if l.cluster == nil {
		l.session.close(l.options.Timeout)
	} else {
		l.cluster.close(l.options.Timeout)
	}
	l.cancel()
	l.running.Wait()
	l.requests.wait()
	l.queues.close()
	if l.cluster != nil {
		l.cluster.client.Close()
	}
	if l.owned != nil {
		return l.owned.Close()
	}
	return nil
}

// abandoned is told by the mailboxes that nobody reads a channel any more.
func (l *Layer) abandoned(channel string) {
	l.leaveAll(channel)
	if l.options.Observer.Abandoned != nil {
		l.options.Observer.Abandoned(channel)
	}
}

// How long the memory of an expired membership is kept, and how late a message
// that expired in a queue is counted, at most.
const (
	groupSweepInterval = time.Minute
	pruneInterval      = time.Second
)

func (l *Layer) sweep(ctx context.Context) {
	groups := time.NewTicker(max(min(groupSweepInterval, l.options.Limits.GroupExpiry), time.Second))
	defer groups.Stop()
	queues := time.NewTicker(max(min(pruneInterval, l.options.Limits.Expiry/4), 10*time.Millisecond))
	defer queues.Stop()
	for {
		select {
		case <-groups.C:
			l.session.soil(l.groups.Sweep()...)
			l.adopted.Sweep()
			l.session.nudge()
		case <-queues.C:
			if l.cluster != nil {
				l.cluster.lines.tick()
			}
			l.queues.prune()
			l.queues.retry()
		case <-ctx.Done():
			return
		}
	}
}

// now is the layer's clock, in nanoseconds; it never goes back.
func (l *Layer) now() int64 { return int64(time.Since(l.base)) }

// age is how long ago Redis accepted an entry.
func (l *Layer) age(e inboxEntry) time.Duration {
	accepted := int64(e.at.ms) * int64(time.Millisecond)
	if e.score != "" {
		micros, _ := strconv.ParseFloat(e.score, 64)
		accepted = int64(micros) * int64(time.Microsecond)
	}
	return time.Duration(max(0, l.now()+l.session.clock.Load()-accepted))
}

// owns reports whether a channel is process-specific and of this process.
func (l *Layer) owns(channel string) bool {
	end := strings.IndexByte(channel, '!')
	if end < 0 {
		return false
	}
	prefix, ok := strings.CutSuffix(channel[:end], l.process) // see processOf, which takes longer
	return ok && (prefix == "" || prefix[len(prefix)-1] == '.')
}

func (l *Layer) closedOr(err error) error {
	if l.closed.Load() {
		return layer.ErrClosed
	}
	return err
}
