package link

import (
	"context"
	"crypto/tls"
	"net"
	"reflect"
	"runtime"
	"strings"

	"github.com/redis/go-redis/v9"
)

// dial dials as the client would, but ends with ctx.
func dial(ctx context.Context, o *redis.Options) (net.Conn, error) {
	switch {
	case !isDefault(o.Dialer):
		return dialApart(ctx, o)
	case o.TLSConfig != nil:
		return dialTLS(ctx, o)
	}
	return o.Dialer(ctx, o.Network, o.Addr)
}

// isDefault reports whether a dialer is that of a client which was given none:
// what it does, dialTLS may do in its place. Of a dialer, only the name of its
// code can be told; a test sees to it that a new version of the client library
// does not change that unnoticed.
func isDefault(dialer func(context.Context, string, string) (net.Conn, error)) bool {
	code := runtime.FuncForPC(reflect.ValueOf(dialer).Pointer())
	return code != nil && strings.HasPrefix(code.Name(), "github.com/redis/go-redis/v9.") && strings.Contains(code.Name(), ".NewDialer.")
}

// dialTLS does what the client's own dialer does where it is to speak TLS; that
// one does not end with ctx, but after the client's DialTimeout.
func dialTLS(ctx context.Context, o *redis.Options) (net.Conn, error) {
	plain := *o
	plain.TLSConfig = nil
	c, err := redis.NewDialer(&plain)(ctx, o.Network, o.Addr)
	if err != nil {
		return nil, err
	}
	config := o.TLSConfig
	if config.ServerName == "" {
		config = config.Clone()
		config.ServerName = o.Addr
		if host, _, err := net.SplitHostPort(o.Addr); err == nil {
			config.ServerName = host
		}
	}
	secure := tls.Client(c, config)
	if err := secure.HandshakeContext(ctx); err != nil {
		c.Close()
		return nil, err
	}
	return secure, nil
}

// dialApart dials with a dialer that is somebody's own, or asks sentinels: it may
// go on for a while after ctx has ended. Nobody waits for that, and what comes of
// it is closed.
func dialApart(ctx context.Context, o *redis.Options) (net.Conn, error) {
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
