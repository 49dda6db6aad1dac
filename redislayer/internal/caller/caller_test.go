package caller

import (
	"context"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/channellayer/channellayer/redislayer/internal/resp"
)

func TestWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New()
		c.Done <- struct{}{}
		require.NoError(t, c.Wait(t.Context(), time.Second), "told before")
		time.AfterFunc(time.Second/2, func() { c.Done <- struct{}{} })
		require.NoError(t, c.Wait(t.Context(), time.Second), "told in time")
		require.Equal(t, ErrTimeout, c.Wait(t.Context(), time.Second))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second/2)
		defer cancel()
		require.Equal(t, context.DeadlineExceeded, c.Wait(ctx, time.Second))
		require.False(t, c.Told())
		c.Done <- struct{}{}
		require.True(t, c.Told())
		require.False(t, c.Told(), "told once")
	})
}

// pipe returns a pipe and the server's end.
func pipe(t *testing.T) (*resp.Pipe, net.Conn) {
	client, server := net.Pipe()
	t.Cleanup(func() {
		client.Close()
		server.Close()
	})
	return resp.NewPipe(client), server
}

func TestReadUntilReplyComes(t *testing.T) {
	p, server := pipe(t)
	go server.Write([]byte("+OK\r\n"))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	c := New()
	var reply []byte
	interrupted, err := c.ReadUntil(ctx, p, func() (err error) { reply, err = p.Fetch(); return err }, func() { t.Error("left without a panic") })
	require.NoError(t, err)
	require.False(t, interrupted)
	require.Equal(t, "+OK\r\n", string(reply))
}

// After an interruption Done is as it was, and the reply can still be read.
func TestReadUntilContextEnds(t *testing.T) {
	p, server := pipe(t)
	ctx, cancel := context.WithCancel(t.Context())
	c := New()
	interrupted, err := c.ReadUntil(ctx, p, func() error {
		cancel()
		_, err := p.Fetch()
		return err
	}, func() { t.Error("left without a panic") })
	require.True(t, interrupted)
	require.True(t, resp.IsTimeout(err), "%v", err)
	require.False(t, c.Told())

	p.Extend(time.Minute)
	go server.Write([]byte("+OK\r\n"))
	reply, err := p.Fetch()
	require.NoError(t, err)
	require.Equal(t, "+OK\r\n", string(reply))
}

type panicking struct{ context.Context }

func (panicking) Done() <-chan struct{} { panic("a ctx of somebody's own") }

func TestReadUntilContextPanics(t *testing.T) {
	p, _ := pipe(t)
	left := false
	require.PanicsWithValue(t, "a ctx of somebody's own", func() {
		New().ReadUntil(panicking{t.Context()}, p, func() error { return nil }, func() { left = true })
	})
	require.True(t, left, "the connection is kept from others")
}
