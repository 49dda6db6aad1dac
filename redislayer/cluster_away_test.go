package redislayer_test

import (
	"net"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/channellayer/channellayer/internal/redistest"
	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/redislayer"
)

// silent returns the address of what accepts connections and never answers.
func silent(tb testing.TB) string {
	tb.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(tb, err)
	tb.Cleanup(func() { listener.Close() })
	return listener.Addr().String()
}

// Calls and Close take the layer's timeout, whatever those of the client are,
// also while it is not known where a slot is.
func TestClusterSilent(t *testing.T) {
	const timeout = 300 * time.Millisecond
	const bound = 3 * timeout // the machine may be busy; the client's timeouts are 5 s
	client := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{silent(t), silent(t), silent(t)}})
	defer client.Close()
	l, err := redislayer.New(client, redislayer.Options{Timeout: timeout})
	require.NoError(t, err)
	for range 2 { // the second when it was found out that nobody answers
		began := time.Now()
		require.ErrorIs(t, l.Send(t.Context(), "jobs", text("1")), layer.ErrUnavailable)
		require.Less(t, time.Since(began), bound, "Send, with a timeout of %v", timeout)
	}
	began := time.Now()
	require.NoError(t, l.Close())
	require.Less(t, time.Since(began), bound, "Close, with a timeout of %v", timeout)
}

// The layer does not use the user's client: this one is closed.
func TestClusterClientUnused(t *testing.T) {
	cluster := redistest.StartCluster(t, redistest.ClusterConfig{})
	client := cluster.Client(t)
	require.NoError(t, client.Close())
	l, err := redislayer.New(client, redislayer.Options{})
	require.NoError(t, err)
	connected(t, l)
	require.NoError(t, l.Send(t.Context(), "jobs", text("1")))
	require.Equal(t, "1", receive(t, l, "jobs").String("text"))
	require.NoError(t, l.Close())
}
