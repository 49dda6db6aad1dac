package faultproxy_test

import (
	"context"
	"io"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/channellayer/channellayer/internal/faultproxy"
	"github.com/channellayer/channellayer/internal/redistest"
)

// behindProxy starts a Redis server and returns a client that goes through a
// proxy, and one that does not.
func behindProxy(t *testing.T) (through, direct *redis.Client, p *faultproxy.Proxy) {
	server := redistest.Start(t, redistest.Config{})
	p = faultproxy.New(t, server.Addr())
	through = redis.NewClient(&redis.Options{
		Addr:                  p.Addr(),
		MaxRetries:            -1,
		DialerRetries:         1,
		ContextTimeoutEnabled: true,
	})
	t.Cleanup(func() { through.Close() })
	return through, server.Client(t), p
}

func TestRedisExecutesWhoseReplyIsDropped(t *testing.T) {
	through, direct, p := behindProxy(t)
	require.NoError(t, through.Ping(t.Context()).Err())
	struck := p.DropReplies(1, faultproxy.Containing("incr"))
	require.ErrorIs(t, through.Incr(t.Context(), "key").Err(), io.EOF)
	await(t, struck)
	require.Equal(t, "1", direct.Get(t.Context(), "key").Val(), "how often the command was executed")

	struck = p.DropRequests(1, faultproxy.Containing("incr"))
	require.Error(t, through.Incr(t.Context(), "key").Err())
	await(t, struck)
	require.Equal(t, "1", direct.Get(t.Context(), "key").Val(), "after a request that was dropped")
	require.EqualValues(t, 2, through.Incr(t.Context(), "key").Val(), "after the faults")
}

func TestRedisBlockingReaderLosesItsReply(t *testing.T) {
	through, direct, p := behindProxy(t)
	struck := p.DropReplies(1, faultproxy.Containing("xread"))
	read := make(chan error, 1)
	go func() {
		read <- through.XRead(t.Context(), &redis.XReadArgs{Streams: []string{"stream", "0"}, Block: patience}).Err()
	}()
	eventually(t, func() bool {
		return direct.InfoMap(t.Context(), "clients").Item("Clients", "blocked_clients") == "1"
	}, "the reader should be blocked")
	notYet(t, struck)
	require.NoError(t, direct.XAdd(t.Context(), &redis.XAddArgs{Stream: "stream", Values: []string{"k", "v"}}).Err())
	require.ErrorIs(t, <-read, io.EOF)
	await(t, struck)
}

func TestRedisExecutesLateWhatTimedOut(t *testing.T) {
	through, direct, p := behindProxy(t)
	require.NoError(t, through.Ping(t.Context()).Err())
	p.BlackHole(faultproxy.ToServer)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	require.Error(t, through.Set(ctx, "key", "late", 0).Err())
	require.NoError(t, direct.Set(t.Context(), "key", "successor", 0).Err())
	p.Heal()
	eventually(t, func() bool { return direct.Get(t.Context(), "key").Val() == "late" }, "the late write should be executed")
}

func TestRedisDeafSubscriber(t *testing.T) {
	through, direct, p := behindProxy(t)
	subscriber := through.Subscribe(t.Context(), "news")
	defer subscriber.Close()
	_, err := subscriber.Receive(t.Context())
	require.NoError(t, err)
	require.Equal(t, 1, p.Deafen(faultproxy.Containing("subscribe")))
	require.EqualValues(t, 1, direct.Publish(t.Context(), "news", "unheard").Val(), "subscribers, for Redis")
	_, err = subscriber.ReceiveTimeout(t.Context(), silence)
	require.Error(t, err, "a deaf subscriber heard something")
}
