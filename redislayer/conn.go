package redislayer

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/redislayer/internal/link"
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

// conn is one connection of the layer's own. Nothing is ever repeated by the
// client below it.
type conn struct{ *link.Link }

// connect makes a connection, which is closed when ctx ends. timeout bounds every
// step; read bounds the wait for a reply.
func (s source) connect(parent context.Context, timeout, read time.Duration) (*conn, error) {
	ctx, cancel := context.WithTimeout(parent, timeout)
	defer cancel()
	settings, err := s.options(ctx)
	if err != nil {
		return nil, err
	}
	l, err := link.Open(parent, settings, timeout, read)
	if err != nil {
		return nil, err
	}
	c := &conn{l}
	if s.asks != nil && s.asks(settings.Addr) {
		c.ask()
	}
	return c, nil
}

// checkRights returns a [SetupError] that names what the user may not run: to
// find it out one by one, in the middle of the work, would be worse.
func (c *conn) checkRights(ctx context.Context, keys keys, key string) error {
	kind := "single"
	if keys.cluster {
		kind = "cluster"
	}
	reply, err := c.script(ctx, checkScript, []string{key}, kind)
	if err != nil || len(reply) == 0 {
		return err
	}
	return &SetupError{fmt.Errorf("the user may not run %s on keys under the prefix; OPERATIONS.md lists the rights it needs",
		strings.Trim(fmt.Sprint(reply...), "[]"))}
}

// runID returns what is another after every restart of the server, and on every
// server.
func (c *conn) runID(ctx context.Context) (string, error) {
	info, err := c.About(ctx, "server")
	if err != nil && link.IsReply(err) && strings.Contains(err.Error(), "not supported") {
		return "", nil // miniredis; a restart is then found out by the lease
	}
	if err != nil {
		return "", err
	}
	if err := link.CheckVersion(info["redis_version"]); err != nil {
		return "", &SetupError{err}
	}
	return info["run_id"], nil
}

// isMaster reports whether the server is a master. One that has just sent this
// process elsewhere, and is, has moved a slot with all that is in it: nothing
// is lost.
func (c *conn) isMaster(ctx context.Context) bool {
	info, err := c.About(ctx, "replication")
	return err == nil && info["role"] == "master"
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
	case link.LacksRights(reply):
		return &SetupError{fmt.Errorf("the user lacks rights (OPERATIONS.md lists those it needs): %w", err)}
	case strings.HasPrefix(text, "NOAUTH"), strings.HasPrefix(text, "WRONGPASS"):
		return &SetupError{fmt.Errorf("check user and password: %w", err)}
	case strings.Contains(text, "DB index"):
		return &SetupError{fmt.Errorf("the server has no database of that number: %w", err)}
	case strings.Contains(text, "WRONGTYPE"):
		return &SetupError{fmt.Errorf("a key under the prefix holds something else; choose another Prefix: %w", err)}
	}
	return err
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
