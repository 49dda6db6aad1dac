package redislayer

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/redislayer/internal/resp"
)

// source tells where the server is now. A single server and one found by
// Sentinel have one client for good; in a Cluster, the node changes (see home).
type source struct {
	options func(ctx context.Context) (*redis.Options, error)
	asks    func(addr string) bool               // whether the server there needs ASKING; nil: none does
	reload  func(ctx context.Context, err error) // for this error, another server may be the right one
}

func newSource(client redis.UniversalClient) (source, error) {
	switch c := client.(type) {
	case *redis.Client:
		return source{
			options: func(context.Context) (*redis.Options, error) { return c.Options(), nil },
			reload:  func(context.Context, error) {},
		}, nil
	}
	return source{}, badOption("client", "%T is not supported; use *redis.Client or *redis.ClusterClient", client)
}

// conn is one connection that belongs to one goroutine. What fails on it
// after it was made has an unknown outcome, unless the server answered; what
// failed before was certainly not run. Nothing is ever repeated by the client
// below it.
type conn struct {
	client *redis.Client
	*redis.Conn
	pipe  *resp.Pipe
	ended func() bool // withdraws what closes it when its ctx ends
}

// connect makes a connection, which is closed when ctx ends: a command that is
// under way does not hear of that by itself. timeout bounds every step; read
// bounds the wait for a reply.
func (s source) connect(parent context.Context, timeout, read time.Duration) (*conn, error) {
	ctx, cancel := context.WithTimeout(parent, timeout)
	defer cancel()
	configured, err := s.options(ctx)
	if err != nil {
		return nil, err
	}
	o := *configured
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
	c := &conn{client: client, Conn: client.Conn(), pipe: resp.NewPipe(dialled)}
	// Below the client, which may not be closed while it is in use (in
	// v9.23 that is a data race with the end of a command).
	c.ended = context.AfterFunc(parent, func() { dialled.Close() })
	if err := c.Ping(ctx).Err(); err != nil {
		c.close()
		dialled.Close() // if the client did not come to ask for it
		return nil, err
	}
	if s.asks != nil && s.asks(o.Addr) {
		c.ask()
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

func (c *conn) close() {
	c.ended()
	c.Conn.Close()
	c.client.Close()
}

// checkRights returns a [SetupError] that names what the user may not run: to
// find it out one by one, in the middle of the work, would be worse.
func (c *conn) checkRights(ctx context.Context, keys keys, key string) error {
	kind := "single"
	if keys.cluster {
		kind = "cluster"
	}
	reply, err := c.script(ctx, checkScript.call(ctx, []string{key}, kind))
	if err != nil || len(reply) == 0 {
		return err
	}
	return &SetupError{fmt.Errorf("the user may not run %s on keys under the prefix; OPERATIONS.md lists the rights it needs",
		strings.Trim(fmt.Sprint(reply...), "[]"))}
}

// serverInfo is what a connection learns about the server.
type serverInfo struct {
	runID string // another after every restart, and on every server
}

// minVersion is the oldest Redis that has what the layer uses (XADD
// NOMKSTREAM, XTRIM MINID). Valkey says 7.2 or later.
var minVersion = [2]int{6, 2}

func (c *conn) info(ctx context.Context) (serverInfo, error) {
	text, err := c.Info(ctx, "server").Result()
	if err != nil && isReply(err) && strings.Contains(err.Error(), "not supported") {
		return serverInfo{}, nil // miniredis; a restart is then found out by the lease
	}
	if err != nil {
		return serverInfo{}, err
	}
	var info serverInfo
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		switch name {
		case "run_id":
			info.runID = value
		case "redis_version":
			if err := checkVersion(value); err != nil {
				return info, err
			}
		}
	}
	return info, nil
}

// isMaster reports whether the server is a master. One that has just sent this
// process elsewhere, and is, has moved a slot with all that is in it: nothing
// is lost.
func (c *conn) isMaster(ctx context.Context) bool {
	text, err := c.Info(ctx, "replication").Result()
	return err == nil && strings.Contains(text, "role:master")
}

func checkVersion(version string) error {
	parts := strings.SplitN(version, ".", 3)
	if len(parts) < 2 {
		return nil // a server that does not say is given the benefit of the doubt
	}
	major, _ := strconv.Atoi(parts[0])
	minor, _ := strconv.Atoi(parts[1])
	if major < minVersion[0] || major == minVersion[0] && minor < minVersion[1] {
		return &SetupError{Err: fmt.Errorf("the server is Redis %s; %d.%d or newer is needed", version, minVersion[0], minVersion[1])}
	}
	return nil
}

// SetupError is an error of the server's set-up, which does not go away by
// trying again: the server is too old, the user lacks rights, a key holds
// something else. It says what to do.
type SetupError struct{ Err error }

func (e *SetupError) Error() string { return "redislayer: " + e.Err.Error() }

// Unwrap returns the server's own error, if there is one.
func (e *SetupError) Unwrap() error { return e.Err }

// explain turns a server's refusal into a SetupError.
func explain(err error) error {
	var reply redis.Error
	if !errors.As(err, &reply) {
		return err
	}
	text := reply.Error()
	switch {
	case strings.Contains(text, "NOPERM"), strings.Contains(text, "can't run this command"), strings.Contains(text, "ACL failure"): // the latter in scripts
		return &SetupError{fmt.Errorf("the user lacks rights (OPERATIONS.md lists those it needs): %w", err)}
	case strings.HasPrefix(text, "NOAUTH"), strings.HasPrefix(text, "WRONGPASS"):
		return &SetupError{fmt.Errorf("check user and password: %w", err)}
	case strings.Contains(text, "WRONGTYPE"):
		return &SetupError{fmt.Errorf("a key under the prefix holds something else; choose another Prefix: %w", err)}
	}
	return err
}

// notRun are the beginnings of the replies by which a server says that it did
// not run a command.
var notRun = []string{"LOADING", "READONLY", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "MOVED", "ASK", "NOSCRIPT", "NOPERM", "NOAUTH", "WRONGPASS", "BUSY", "NOREPLICAS", "MISCONF", "OOM", "UNBLOCKED"}

// certainlyNotRun reports whether err is the server's word that it did not run
// the command.
func certainlyNotRun(err error) bool {
	var reply redis.Error
	if !errors.As(err, &reply) {
		return false
	}
	text := reply.Error()
	refusals := notRun
	switch {
	case strings.HasPrefix(text, "ERR Error running script"): // before Redis 7
		_, text, _ = strings.Cut(text, ": -")
		refusals = noWrite
	case strings.Contains(text, " script: "): // Redis 7
		refusals = noWrite
	}
	return slices.ContainsFunc(refusals, func(begin string) bool { return strings.HasPrefix(text, begin) })
}

// noWrite are the refusals that a script meets at its first write or not at
// all. Of others inside a script it is not known what it had done by then.
var noWrite = []string{"OOM", "READONLY", "MISCONF", "NOREPLICAS"}

// staleServer reports whether the reply means that another server should be
// asked.
func staleServer(err error) bool {
	for _, begin := range []string{"READONLY", "MOVED", "ASK", "CLUSTERDOWN", "MASTERDOWN", "LOADING", "UNBLOCKED"} {
		if err != nil && strings.HasPrefix(err.Error(), begin) {
			return true
		}
	}
	return false
}

// unavailable is the error of calls made while the server is away or refuses.
// The cause is told, not wrapped, unless it is a [SetupError]: a connection's
// deadline is not the caller's.
func unavailable(cause error) error {
	if cause == nil {
		return layer.ErrUnavailable
	}
	var setup *SetupError
	if errors.As(explain(cause), &setup) {
		return &layer.Error{Op: "redislayer", Err: fmt.Errorf("%w: %w", layer.ErrUnavailable, setup)}
	}
	return &layer.Error{Op: "redislayer", Err: fmt.Errorf("%w: %s", layer.ErrUnavailable, cause)}
}
