package channelsredis

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/redislayer/channelsredis/internal/redisconn"
	"github.com/channellayer/channellayer/redislayer/internal/link"
)

// SetupError is an error of a server's set-up, which does not go away by trying
// again: the server is too old, the user lacks rights, a key holds something
// else. It says what to do. Errors of calls that a server refuses wrap it.
type SetupError = redisconn.SetupError

// hostOf is which of n hosts a name belongs to, as channels_redis computes it
// (with a float64, which matters where 4096 is no multiple of n).
func hostOf(name string, n int) int {
	if n == 1 {
		return 0
	}
	bits := crc32.ChecksumIEEE([]byte(name)) & 0xFFF
	return int(float64(bits) / (4096 / float64(n)))
}

// opened is a layer that open makes.
type opened interface {
	shared() *bus
	waitConnected(context.Context) error
	Close() error
}

// open makes a layer on the servers at the URLs, whose clients it owns, and waits
// until it is connected.
func open[L opened](ctx context.Context, urls []string, options Options, newLayer func(Options) (L, error)) (L, error) {
	var none L
	var err error
	if options.Hosts, err = openHosts(urls, options); err != nil {
		return none, err
	}
	l, err := newLayer(options)
	if err != nil {
		closeHosts(options.Hosts)
		return none, err
	}
	l.shared().owned = options.Hosts
	if err := l.waitConnected(ctx); err != nil {
		l.shared().cancel() // nothing is under way that Close should wait for
		l.Close()
		return none, err
	}
	return l, nil
}

func (b *bus) shared() *bus { return b }

// waitHost waits until a host is connected, the cause why it is not is its
// set-up, or ctx ends. Errors name the host.
func (b *bus) waitHost(ctx context.Context, host int, state func() (connected bool, cause error)) error {
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		connected, cause := state()
		if connected {
			return nil
		}
		var setup *SetupError
		if errors.As(cause, &setup) {
			return fmt.Errorf("%s: %w", b.nameOf(host), cause)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			if cause != nil {
				return fmt.Errorf("%s: %w: %w", b.nameOf(host), cause, ctx.Err())
			}
			return fmt.Errorf("%s: %w", b.nameOf(host), ctx.Err())
		}
	}
}

// nameOf names a host in errors: its place among the hosts, and its address if
// it has one of its own (a client that asks sentinels has none).
func (b *bus) nameOf(host int) string {
	if o := b.options.Hosts[host].(*redis.Client).Options(); o.Addr != "FailoverClient" {
		return fmt.Sprintf("host %d (%s)", host, o.Addr)
	}
	return fmt.Sprintf("host %d", host)
}

// openHosts makes a client for each URL, for a layer that owns them. On an error
// it leaves none.
func openHosts(urls []string, options Options) ([]redis.UniversalClient, error) {
	if options.Hosts != nil {
		return nil, badOption("Hosts", "they are set, and given as URLs too")
	}
	var clients []redis.UniversalClient
	for i, url := range urls {
		o, err := link.ParseURL(url)
		if err != nil {
			closeHosts(clients)
			return nil, &layer.Error{Op: fmt.Sprintf("channelsredis url %d", i), Err: err}
		}
		clients = append(clients, redis.NewClient(o))
	}
	return clients, nil
}

func closeHosts(clients []redis.UniversalClient) error {
	var errs []error
	for _, c := range clients {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}
