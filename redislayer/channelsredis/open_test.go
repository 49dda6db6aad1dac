package channelsredis_test

import (
	"context"
	"crypto/tls"
	"net"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/redislayer/channelsredis"
)

// silentServer accepts connections and says nothing.
func silentServer(t *testing.T) (addr string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { listener.Close() })
	return listener.Addr().String()
}

// Nobody waits for a server that accepts and does not answer longer than ctx,
// whatever the timeout; and nothing is left then.
func TestOpenEndsWithContext(t *testing.T) {
	addr := silentServer(t)
	opens := map[string]func(context.Context, string, channelsredis.Options) error{
		"Core": func(ctx context.Context, url string, o channelsredis.Options) error {
			_, err := channelsredis.OpenCore(ctx, []string{url}, o)
			return err
		},
		"PubSub": func(ctx context.Context, url string, o channelsredis.Options) error {
			_, err := channelsredis.OpenPubSub(ctx, []string{url}, o)
			return err
		},
	}
	for name, open := range opens {
		for _, url := range []string{"redis://" + addr, "rediss://" + addr + "?dial_timeout=20s"} {
			t.Run(name+" "+url[:6], func(t *testing.T) {
				before := goleak.IgnoreCurrent()
				ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
				defer cancel()
				began := time.Now()
				err := open(ctx, url, channelsredis.Options{Timeout: 10 * time.Second})
				require.ErrorIs(t, err, context.DeadlineExceeded)
				require.Less(t, time.Since(began), time.Second, "to give up, with a ctx of 50 ms")
				goleak.VerifyNone(t, before)
			})
		}
	}
}

// Close waits no longer than the timeout where a server accepts and does not
// answer: neither by TLS, nor where it is a sentinel, whom the client library asks
// in a way of its own. That it leaves nothing, TestMain sees.
func TestCloseWithSilentServer(t *testing.T) {
	const timeout = 300 * time.Millisecond
	addr := silentServer(t)
	clients := map[string]func() *redis.Client{
		"plain": func() *redis.Client { return redis.NewClient(&redis.Options{Addr: addr}) },
		"TLS": func() *redis.Client {
			return redis.NewClient(&redis.Options{Addr: addr, TLSConfig: &tls.Config{}, DialTimeout: time.Hour})
		},
		"Sentinel": func() *redis.Client {
			return redis.NewFailoverClient(&redis.FailoverOptions{MasterName: "m", SentinelAddrs: []string{addr}, MaxRetries: -1, ReadTimeout: 2 * time.Second})
		},
	}
	layers := map[string]func(channelsredis.Options) (layer.Layer, error){
		"Core":   func(o channelsredis.Options) (layer.Layer, error) { return channelsredis.NewCore(o) },
		"PubSub": func(o channelsredis.Options) (layer.Layer, error) { return channelsredis.NewPubSub(o) },
	}
	for way, newClient := range clients {
		for name, newLayer := range layers {
			t.Run(name+" "+way, func(t *testing.T) {
				t.Parallel()
				client := newClient()
				defer client.Close()
				l, err := newLayer(channelsredis.Options{Hosts: []redis.UniversalClient{client}, Timeout: timeout})
				require.NoError(t, err)
				began := time.Now()
				require.ErrorIs(t, l.Send(t.Context(), "jobs", note(1)), layer.ErrUnavailable)
				require.NoError(t, l.Close())
				require.Less(t, time.Since(began), 1500*time.Millisecond, "to send and to close, with a timeout of %v", timeout)
			})
		}
	}
}
