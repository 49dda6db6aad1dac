package channelsredis_test

import (
	"context"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/channellayer/channellayer/internal/redistest"
	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/redislayer/channelsredis"
)

// stalling is a connection whose process stands still: a read finds that its
// deadline has passed, and what it waited for there.
type stalling struct {
	net.Conn
	stalls chan struct{} // each is one read that stalls
	begun  chan struct{} // told when one does
	stood  *atomic.Int32 // reads that stood still
}

func (c stalling) Read(b []byte) (int, error) {
	select {
	case <-c.stalls:
		c.begun <- struct{}{}
		time.Sleep(3 * time.Second) // longer than a reader waits
		c.stood.Add(1)
	default:
	}
	return c.Conn.Read(b)
}

// A process that stood still for longer than a reader waits for Redis loses
// nothing of what was popped for it meanwhile: it is in its socket.
func TestCoreProcessStandsStill(t *testing.T) {
	t.Parallel() // it mostly waits
	server := redistest.Start(t, redistest.Config{})
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var stood atomic.Int32
	stalls, begun := make(chan struct{}), make(chan struct{}, 10)
	dialer := net.Dialer{}
	client := redis.NewClient(&redis.Options{Addr: server.Addr(), Dialer: func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := dialer.DialContext(ctx, network, addr)
		return stalling{c, stalls, begun, &stood}, err
	}})
	defer client.Close()
	c, err := channelsredis.NewCore(channelsredis.Options{Hosts: []redis.UniversalClient{client}, Expiry: time.Minute})
	require.NoError(t, err)
	defer c.Close()
	soon(t, "the layer to connect", func() bool { return layer.Ping(ctx, c) == nil })
	sender := openOne(t, server, channelsredis.Options{})
	own := newOwn(t, c)
	require.NoError(t, sender.Send(ctx, own, note(0)))
	require.Equal(t, int64(0), next(t, c, own).Int("n"))

	stalls <- struct{}{} // only the reader reads again and again
	<-begun
	for n := range 10 {
		require.NoError(t, sender.Send(ctx, own, note(1+n)))
	}
	for n := range 10 {
		require.Equal(t, int64(1+n), next(t, c, own).Int("n"), "what was popped meanwhile")
	}
	require.EqualValues(t, 1, stood.Load())
	require.Zero(t, c.Stats().Gaps, "nothing was lost")
}
