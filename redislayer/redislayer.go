package redislayer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/layer/process"
	"github.com/channellayer/channellayer/redislayer/internal/link"
)

// Layer is a [layer.Layer] over Redis. Make one with [New] or [Open]. Besides
// the methods of the contract it has all of the optional ones.
type Layer struct {
	options Options
	log     *slog.Logger
	keys    keys
	base    time.Time

	process *process.Process // its channels and memberships
	name    string           // the process's

	session  *session
	cluster  *cluster // nil on a single server
	reader   *reader
	queues   *queues
	requests *requests

	undecodableToldAt atomic.Int64 // on the layer's clock

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
// Of an attempt to connect nothing is left after Close, with two exceptions: a
// Dialer of yours that does not end with its ctx goes on until it returns, when
// the connection is closed; and a question to sentinels that do not answer ends
// with the client's own timeouts.
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
	l := &Layer{options: o, log: o.Logger, keys: keys{prefix: o.Prefix}, base: time.Now()}
	ofCluster, onCluster := client.(*redis.ClusterClient)
	var source source
	if !onCluster {
		if source, err = newSource(client); err != nil {
			return nil, err
		}
	}
	l.process, err = process.New(process.Options{
		Limits: o.Limits, Observer: o.Observer, GapMessage: o.GapMessage, GapSpread: o.GapSpread, Emptied: l.emptied,
	})
	if err != nil {
		return nil, err
	}
	l.name = l.process.Name()
	if onCluster {
		l.keys.cluster = true
		l.cluster = newCluster(l, ofCluster.Options())
		source = l.cluster.home()
	}
	l.reader = newReader(l, source)
	l.session = newSession(l, source)
	l.queues = newQueues(l)
	l.requests = newRequests(l)

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
	l.running.Go(func() { l.keepQueues(ctx) })
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
	o, err := link.ParseURL(url)
	if err != nil {
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
		l.cancel() // nothing is under way that Close should wait for
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
	return l.process.NewChannel(ctx, prefix)
}

// Receive implements [layer.Layer].
func (l *Layer) Receive(ctx context.Context, channel string) (layer.Message, error) {
	if !layer.IsProcessSpecific(channel) {
		var buf [1]layer.Message
		_, err := l.receiveNormal(ctx, channel, buf[:])
		return buf[0], err
	}
	return l.process.Receive(ctx, channel)
}

// ReceiveBatch implements [layer.BatchReceiver]. From a normal channel it
// takes one message: other processes' receivers get the rest.
func (l *Layer) ReceiveBatch(ctx context.Context, channel string, buf []layer.Message) (int, error) {
	if !layer.IsProcessSpecific(channel) {
		return l.receiveNormal(ctx, channel, buf)
	}
	return l.process.ReceiveBatch(ctx, channel, buf)
}

func (l *Layer) receiveNormal(ctx context.Context, channel string, buf []layer.Message) (int, error) {
	if err := ctx.Err(); err != nil || len(buf) == 0 {
		return 0, err
	}
	if err := layer.ValidateChannel(channel); err != nil {
		return 0, err
	}
	if err := l.process.Check(ctx); err != nil {
		return 0, err
	}
	channel = strings.Clone(channel)
	if l.cluster != nil {
		return l.cluster.lines.receive(ctx, channel, buf[:1])
	}
	return l.queues.receive(ctx, channel, buf[:1])
}

// Release implements [layer.Releaser].
func (l *Layer) Release(ctx context.Context, channel string) error {
	return l.process.Release(ctx, channel)
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
	if !l.process.BeginClose() {
		return nil
	}
	l.process.Mailboxes().Close() // receivers do not wait for Redis; what it still has for them is counted
	if l.cluster == nil {
		l.session.close(l.options.Timeout)
	} else {
		l.cluster.close(l.options.Timeout)
	}
	l.cancel()
	l.running.Wait()
	l.requests.wait()
	l.queues.close()
	l.process.Close()
	if l.cluster != nil {
		l.cluster.client.Close()
	}
	if l.owned != nil {
		return l.owned.Close()
	}
	return nil
}

// emptied is told of groups that lost their last member here without anybody
// having called GroupDiscard. What Redis has of them is removed in passing.
func (l *Layer) emptied(groups []string) {
	l.session.soil(groups...)
	l.session.nudge()
}

// pruneInterval is how late a message that expired in a queue is counted, at
// most.
const pruneInterval = time.Second

// keepQueues sees to what has to be done for normal channels from time to time.
func (l *Layer) keepQueues(ctx context.Context) {
	ticker := time.NewTicker(max(min(pruneInterval, l.options.Limits.Expiry/4), 10*time.Millisecond))
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
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
