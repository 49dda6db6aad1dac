package link_test

import (
	"context"
	"crypto/tls"
	"net"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/channellayer/channellayer/internal/redistest"
	"github.com/channellayer/channellayer/redislayer/internal/link"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// silent accepts connections and says nothing. It tells of each when the other
// end has closed it.
func silent(t *testing.T) (addr string, closed <-chan struct{}) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { listener.Close() })
	ended := make(chan struct{}, 10)
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				for b := make([]byte, 1024); ; {
					if _, err := c.Read(b); err != nil {
						ended <- struct{}{}
						return
					}
				}
			}()
		}
	}()
	return listener.Addr().String(), ended
}

// However a connection is made, who opens it does not wait for longer than ctx,
// and with the client's own dialer nothing is left of the attempt then.
func TestOpenEndsWithContext(t *testing.T) {
	addr, closed := silent(t)
	sentinel := redis.NewFailoverClient(&redis.FailoverOptions{MasterName: "m", SentinelAddrs: []string{addr}, ReadTimeout: 500 * time.Millisecond, MaxRetries: -1})
	defer sentinel.Close()
	plain := redis.NewClient(&redis.Options{Addr: addr, DialTimeout: time.Hour})
	defer plain.Close()
	encrypted := redis.NewClient(&redis.Options{Addr: addr, DialTimeout: time.Hour, TLSConfig: &tls.Config{}})
	defer encrypted.Close()
	for name, client := range map[string]*redis.Client{"plain": plain, "TLS": encrypted, "Sentinel": sentinel} {
		t.Run(name, func(t *testing.T) {
			before := goleak.IgnoreCurrent()
			ctx, cancel := context.WithCancel(t.Context())
			began := time.Now()
			time.AfterFunc(50*time.Millisecond, cancel)
			_, err := link.Open(ctx, client.Options(), time.Minute, time.Minute)
			require.Error(t, err)
			require.Less(t, time.Since(began), 400*time.Millisecond, "to give up after 50 ms")
			if name != "Sentinel" {
				select {
				case <-closed:
				case <-time.After(5 * time.Second):
					require.Fail(t, "the connection was left open")
				}
				goleak.VerifyNone(t, before)
			}
		})
	}
}

// A dialer of the user's own that does not end with ctx is not waited for, and
// what it comes back with is closed.
func TestOpenDoesNotWaitForADialer(t *testing.T) {
	addr, closed := silent(t)
	letGo := make(chan struct{})
	client := redis.NewClient(&redis.Options{Dialer: func(context.Context, string, string) (net.Conn, error) {
		<-letGo
		return net.Dial("tcp", addr)
	}})
	defer client.Close()
	before := goleak.IgnoreCurrent()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := link.Open(ctx, client.Options(), time.Minute, time.Minute)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	close(letGo)
	select {
	case <-closed:
	case <-time.After(5 * time.Second):
		require.Fail(t, "the connection that came too late was left open")
	}
	goleak.VerifyNone(t, before)
}

// A client's own dialer is used, by TLS, too: it may go by a way of its own.
func TestOpenUsesTheClientsDialer(t *testing.T) {
	server := redistest.Start(t, redistest.Config{TLS: true})
	addr, config := server.TLS()
	for name, o := range map[string]*redis.Options{
		"plain": {Addr: server.Addr()},
		"TLS":   {Addr: addr, TLSConfig: config},
		"own": {Addr: "nowhere:1", TLSConfig: config, Dialer: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&tls.Dialer{Config: config}).DialContext(ctx, network, addr)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			client := redis.NewClient(o)
			defer client.Close()
			l, err := link.Open(t.Context(), client.Options(), 5*time.Second, 5*time.Second)
			require.NoError(t, err)
			require.NoError(t, l.Ping(t.Context()).Err())
			l.Close()
		})
	}
}
