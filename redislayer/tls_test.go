package redislayer_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/channellayer/channellayer/internal/redistest"
	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/redislayer"
)

// byTLS makes a layer with a client that the user configured for TLS.
func byTLS(tb testing.TB, addr string, config *tls.Config) *redislayer.Layer {
	tb.Helper()
	client := redis.NewClient(&redis.Options{Addr: addr, TLSConfig: config})
	tb.Cleanup(func() { client.Close() })
	l, err := redislayer.New(client, redislayer.Options{Limits: layer.Limits{Capacity: 10_000}})
	require.NoError(tb, err)
	tb.Cleanup(func() { require.NoError(tb, l.Close()) })
	return l
}

// All that a layer says to a server goes by TLS if the client's does: what it
// sends, and the reader's waiting. Callers that leave in the middle of a reply
// do no harm to the connection, and a restart of the server none that lasts.
func TestTLS(t *testing.T) {
	server := redistest.Start(t, redistest.Config{TLS: true})
	addr, config := server.TLS()
	ctx := t.Context()
	a, b := byTLS(t, addr, config), byTLS(t, addr, config)
	connected(t, a)
	connected(t, b)
	channel := newChannel(t, b)
	require.NoError(t, b.GroupAdd(ctx, "room", channel))
	exchange := func() {
		t.Helper()
		require.NoError(t, a.Send(ctx, channel, text("to one")))
		require.Equal(t, "to one", receive(t, b, channel).String("text"))
		require.NoError(t, a.GroupSend(ctx, "room", text("to all")))
		require.Equal(t, "to all", receive(t, b, channel).String("text"))
		require.NoError(t, a.Send(ctx, "jobs", text("to any")))
		require.Equal(t, "to any", receive(t, b, "jobs").String("text"))
		large := strings.Repeat("x", 500_000) // many records of TLS
		require.NoError(t, a.Send(ctx, channel, text(large)))
		require.Equal(t, large, receive(t, b, channel).String("text"))
	}
	exchange()

	client := server.Client(t)
	require.NoError(t, client.Ping(ctx).Err()) // is connected
	var list string
	soon(t, "two connections of each layer by TLS", func() bool {
		list = client.ClientList(ctx).Val()
		return strings.Count(list, "laddr="+addr) == 4
	})
	for line := range strings.Lines(list) {
		if !strings.Contains(line, "laddr="+addr) {
			require.Contains(t, line, "cmd=client", "a connection that is not this test's, without TLS")
		}
	}

	const sends = 2000
	before := server.Info(t, "stats")["total_connections_received"]
	left, accepted, last := 0, 0, -1
	for n := range sends {
		short, cancel := context.WithTimeout(ctx, time.Duration(n%10)*30*time.Microsecond)
		if err := a.Send(short, channel, text(fmt.Sprint(n))); err == nil {
			accepted++
		} else if errors.Is(err, layer.ErrMaybeSent) {
			left++
		}
		cancel()
	}
	require.NoError(t, a.Send(ctx, channel, text(fmt.Sprint(sends))))
	received := 0
	for last < sends {
		var n int
		_, err := fmt.Sscan(receive(t, b, channel).String("text"), &n)
		require.NoError(t, err)
		require.Greater(t, n, last, "in order, each once")
		last = n
		received++
	}
	t.Logf("%d sends: %d accepted, %d left in the middle", sends, accepted, left)
	require.Positive(t, left, "callers that left in the middle")
	require.GreaterOrEqual(t, received, accepted+1)
	require.LessOrEqual(t, received, accepted+1+left)
	var was, is int
	fmt.Sscan(before, &was)
	fmt.Sscan(server.Info(t, "stats")["total_connections_received"], &is)
	require.LessOrEqual(t, is-was, 2, "connections since, of which this test made two itself to ask")

	server.Restart(t)
	soon(t, "the layers are there again", func() bool { return a.Send(ctx, channel, text("again")) == nil })
	require.Equal(t, "again", receive(t, b, channel).String("text"))
	connected(t, b)
	exchange()
}

// Who does not trust the server, or is not trusted by it, is told so.
func TestTLSRefused(t *testing.T) {
	server := redistest.Start(t, redistest.Config{TLS: true})
	addr, config := server.TLS()
	stranger := config.Clone()
	stranger.Certificates = nil
	for want, config := range map[string]*tls.Config{
		"certificate signed by unknown authority": {Certificates: config.Certificates},
		"certificate required":                    stranger,
	} {
		l := byTLS(t, addr, config)
		var err error
		soon(t, "an error that says: "+want, func() bool {
			err = l.Ping(t.Context())
			return err != nil && strings.Contains(err.Error(), want)
		})
		require.ErrorIs(t, err, layer.ErrUnavailable)
	}
}

// A URL with rediss:// is for servers whose certificate the system trusts; what
// else there is to say of TLS belongs to a client.
func TestOpenByTLS(t *testing.T) {
	server := redistest.Start(t, redistest.Config{TLS: true, Extra: []string{"tls-auth-clients no"}})
	addr, _ := server.TLS()
	work(t, "rediss://"+addr+"?skip_verify=true")
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	_, err := redislayer.Open(ctx, "rediss://"+addr, redislayer.Options{})
	require.ErrorIs(t, err, layer.ErrUnavailable)
	require.ErrorContains(t, err, "certificate signed by unknown authority")
}

// A server that accepts connections and never begins to speak TLS holds nobody
// for longer than the layer's timeout.
func TestTLSSilent(t *testing.T) {
	const timeout = 300 * time.Millisecond
	const bound = 3 * timeout // the machine may be busy; the client's timeout is 5 s
	client := redis.NewClient(&redis.Options{Addr: silent(t), TLSConfig: &tls.Config{}})
	defer client.Close()
	l, err := redislayer.New(client, redislayer.Options{Timeout: timeout})
	require.NoError(t, err)
	began := time.Now()
	require.ErrorIs(t, l.Send(t.Context(), "jobs", text("1")), layer.ErrUnavailable)
	require.Less(t, time.Since(began), bound, "Send, with a timeout of %v", timeout)
	began = time.Now()
	require.NoError(t, l.Close())
	require.Less(t, time.Since(began), bound, "Close, with a timeout of %v", timeout)
}
