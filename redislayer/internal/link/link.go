// Package link makes connections to Redis that belong to one goroutine each and
// never repeat anything by themselves.
package link

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/channellayer/channellayer/redislayer/internal/resp"
)

// Link is one connection that belongs to one goroutine. What fails on it after it
// was made has an unknown outcome, unless the server answered; what failed before
// was certainly not run.
type Link struct {
	*redis.Conn
	Net  net.Conn   // below the client library
	Pipe *resp.Pipe // on Net

	client *redis.Client
	ended  func() bool // withdraws what closes it when its ctx ends
}

// Open makes a connection with the settings of a client. It is closed when ctx
// ends: a command that is under way does not hear of that by itself. timeout
// bounds every step; read bounds the wait for a reply.
func Open(parent context.Context, settings *redis.Options, timeout, read time.Duration) (*Link, error) {
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
	l := &Link{client: client, Conn: client.Conn(), Net: dialled, Pipe: resp.NewPipe(dialled)}
	// Below the client, which may not be closed while it is in use (in
	// v9.23 that is a data race with the end of a command).
	l.ended = context.AfterFunc(parent, func() { dialled.Close() })
	if err := l.Ping(ctx).Err(); err != nil {
		l.Close()
		dialled.Close() // if the client did not come to ask for it
		return nil, err
	}
	return l, nil
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

// Interrupt ends what reads or writes the Pipe now, and what will.
func (l *Link) Interrupt() { l.Pipe.Interrupt() }

// Close closes the connection. No command may be under way.
func (l *Link) Close() {
	l.ended()
	l.Conn.Close()
	l.client.Close()
}

// About returns what the server says of itself in a section of INFO, by name.
func (l *Link) About(ctx context.Context, section string) (map[string]string, error) {
	text, err := l.Info(ctx, section).Result()
	if err != nil {
		return nil, err
	}
	info := map[string]string{}
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			info[name] = value
		}
	}
	return info, nil
}

// minVersion is the oldest Redis that has what the layers use (XADD NOMKSTREAM,
// XTRIM MINID). Valkey says 7.2 or later.
var minVersion = [2]int{6, 2}

// CheckVersion returns an error that says what is needed if a server of that
// version is too old.
func CheckVersion(version string) error {
	parts := strings.SplitN(version, ".", 3)
	if len(parts) < 2 {
		return nil // a server that does not say is given the benefit of the doubt
	}
	major, _ := strconv.Atoi(parts[0])
	minor, _ := strconv.Atoi(parts[1])
	if major < minVersion[0] || major == minVersion[0] && minor < minVersion[1] {
		return fmt.Errorf("the server is Redis %s; %d.%d or newer is needed", version, minVersion[0], minVersion[1])
	}
	return nil
}
