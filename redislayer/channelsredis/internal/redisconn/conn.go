// Package redisconn makes connections to Redis that never repeat anything by
// themselves, and tells of an error whether the command was run.
package redisconn

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/channellayer/channellayer/redislayer/internal/resp"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// Conn is one connection that belongs to one goroutine. What fails on it after
// it was made has an unknown outcome, unless the server answered; what failed
// before was certainly not run.
type Conn struct {
	*redis.Conn

	// ID is the server's number of the connection, for CLIENT KILL and CLIENT
	// UNBLOCK.
	ID int64

	// Pipe is the connection below the client library.
	Pipe *resp.Pipe

	// RunID is another after every restart of the server, and on every server.
	RunID string

	client *redis.Client
	ended  func() bool // withdraws what closes it when its ctx ends
}

// Connect makes a connection with the settings of a client, which is closed
// when ctx ends: a command that is under way does not hear of that by itself.
// timeout bounds every step, read the wait for a reply.
func Connect(parent context.Context, settings *redis.Options, timeout, read time.Duration) (*Conn, error) {
	ctx, cancel := context.WithTimeout(parent, timeout)
	defer cancel()
	o := *settings
	o.MaxRetries = -1
	o.DialerRetries = 1
	o.DialTimeout, o.ReadTimeout, o.WriteTimeout, o.PoolTimeout = timeout, read, timeout, timeout
	o.ContextTimeoutEnabled = true
	o.PoolSize, o.MinIdleConns, o.MaxIdleConns, o.MaxActiveConns = 1, 0, 0, 0
	o.ConnMaxIdleTime, o.ConnMaxLifetime = -1, -1
	o.ReadBufferSize, o.WriteBufferSize = 64<<10, 64<<10
	o.Protocol = 2 // replies are read as it shapes them
	o.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	o.PushNotificationProcessor = nil // belongs to the client that was configured
	// Dialled here: the client would log a failure to stderr, and leave a
	// goroutine that tries again.
	dialled, err := dial(ctx, &o)
	if err != nil {
		return nil, err
	}
	o.Dialer = once(dialled)
	client := redis.NewClient(&o)
	c := &Conn{client: client, Conn: client.Conn(), Pipe: resp.NewPipe(dialled)}
	// Below the client, which may not be closed while it is in use (in
	// v9.23 that is a data race with the end of a command).
	c.ended = context.AfterFunc(parent, func() { dialled.Close() })
	if err := c.hello(ctx); err != nil {
		c.Close()
		dialled.Close() // if the client did not come to ask for it
		return nil, Explain(err)
	}
	return c, nil
}

// dial dials. By TLS, the client's own dialer does not end with ctx, but after
// the client's DialTimeout; nobody waits for that, and what comes of it is
// closed.
func dial(ctx context.Context, o *redis.Options) (net.Conn, error) {
	if o.TLSConfig == nil {
		return o.Dialer(ctx, o.Network, o.Addr)
	}
	type result struct {
		conn net.Conn
		err  error
	}
	dialled := make(chan result)
	go func() {
		c, err := o.Dialer(ctx, o.Network, o.Addr)
		select {
		case dialled <- result{c, err}:
		case <-ctx.Done():
			if err == nil {
				c.Close()
			}
		}
	}()
	select {
	case r := <-dialled:
		return r.conn, r.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// once gives a connection to the first who asks.
func once(c net.Conn) func(context.Context, string, string) (net.Conn, error) {
	var given atomic.Bool
	return func(context.Context, string, string) (net.Conn, error) {
		if given.Swap(true) {
			return nil, net.ErrClosed
		}
		return c, nil
	}
}

// Close closes the connection. No command may be under way.
func (c *Conn) Close() {
	c.ended()
	c.Conn.Close()
	c.client.Close()
}

// hello asks who is there.
func (c *Conn) hello(ctx context.Context) error {
	var err error
	if c.ID, err = c.ClientID(ctx).Result(); err != nil {
		return err
	}
	text, err := c.Info(ctx, "server").Result()
	if err != nil {
		return err
	}
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		switch name {
		case "run_id":
			c.RunID = value
		case "redis_version":
			if err := checkVersion(value); err != nil {
				return err
			}
		}
	}
	return nil
}

// minVersion is the oldest Redis that is supported. Valkey says 7.2 or later.
var minVersion = [2]int{6, 2}

func checkVersion(version string) error {
	parts := strings.SplitN(version, ".", 3)
	if len(parts) < 2 {
		return nil // a server that does not say is given the benefit of the doubt
	}
	major, _ := strconv.Atoi(parts[0])
	minor, _ := strconv.Atoi(parts[1])
	if major < minVersion[0] || major == minVersion[0] && minor < minVersion[1] {
		return &SetupError{fmt.Errorf("the server is Redis %s; %d.%d or newer is needed", version, minVersion[0], minVersion[1])}
	}
	return nil
}
