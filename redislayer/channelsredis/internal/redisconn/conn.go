// Package redisconn makes the connections of both layers, and tells of an error
// whether the command was run.
package redisconn

import (
	"context"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/channellayer/channellayer/redislayer/internal/link"
)

// Conn is a connection that knows who is at its other end.
type Conn struct {
	*link.Link

	// ID is the server's number of the connection, for CLIENT KILL and CLIENT
	// UNBLOCK.
	ID int64

	// RunID is another after every restart of the server, and on every server.
	RunID string
}

// Connect makes a connection with the settings of a client, as [link.Open] does.
func Connect(parent context.Context, settings *redis.Options, timeout, read time.Duration) (*Conn, error) {
	ctx, cancel := context.WithTimeout(parent, timeout)
	defer cancel()
	l, err := link.Open(parent, settings, timeout, read)
	if err != nil {
		return nil, Explain(err)
	}
	c := &Conn{Link: l}
	if err := c.hello(ctx); err != nil {
		c.Close()
		return nil, Explain(err)
	}
	return c, nil
}

// hello asks who is there.
func (c *Conn) hello(ctx context.Context) error {
	var err error
	if c.ID, err = c.ClientID(ctx).Result(); err != nil {
		return err
	}
	info, err := c.About(ctx, "server")
	if err != nil {
		return err
	}
	if err := link.CheckVersion(info["redis_version"]); err != nil {
		return &SetupError{err}
	}
	c.RunID = info["run_id"]
	return nil
}
