package redislayer_test

import (
	"crypto/tls"
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

// clusterByTLS makes a layer on a cluster that is named by a rediss:// URL.
func clusterByTLS(t *testing.T, addrs []string, config *tls.Config) *redislayer.Layer {
	t.Helper()
	o, err := redis.ParseClusterURL(fmt.Sprintf("rediss://%s?addr=%s", addrs[0], addrs[1]))
	require.NoError(t, err)
	require.NotNil(t, o.TLSConfig)
	o.TLSConfig.RootCAs, o.TLSConfig.Certificates = config.RootCAs, config.Certificates
	client := redis.NewClusterClient(o)
	t.Cleanup(func() { client.Close() })
	l, err := redislayer.New(client, redislayer.Options{Timeout: time.Second})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.Close()) })
	return l
}

// All that a layer says to a Cluster goes by TLS if the client's does: to each
// master, and the reader's waiting; also where a server sends it, while a slot
// moves and afterwards.
func TestClusterByTLS(t *testing.T) {
	cluster := redistest.StartCluster(t, redistest.ClusterConfig{Redis: redistest.Config{TLS: true}})
	addrs, config := cluster.TLS()
	ctx := t.Context()
	a, b := clusterByTLS(t, addrs, config), clusterByTLS(t, addrs, config)
	connected(t, a)
	connected(t, b)
	channel := newChannel(t, b)
	begin := func(tag string) (finish func()) {
		t.Helper()
		slot := cluster.Slot(t, "{"+tag+"}")
		to := cluster.Nodes()[0]
		if to == cluster.Owner(t, slot) {
			to = cluster.Nodes()[1]
		}
		return cluster.BeginMoveSlot(t, slot, to)
	}
	exchange := func() {
		t.Helper()
		require.NoError(t, a.Send(ctx, channel, text("to one")))
		require.Equal(t, "to one", receive(t, b, channel).String("text"))
		require.NoError(t, a.GroupSend(ctx, "room", text("to all")))
		require.Equal(t, "to all", receive(t, b, channel).String("text"))
		require.NoError(t, a.Send(ctx, "jobs", text("to any")))
		require.Equal(t, "to any", receive(t, b, "jobs").String("text"))
	}
	finish := begin("room")
	require.NoError(t, b.GroupAdd(ctx, "room", channel), "a group that is made where its slot is going: ASK")
	exchange()
	finish()
	exchange() // MOVED
	for _, tag := range []string{"room", "jobs", b.Process(), a.Process()} {
		begin(tag)()
		exchange()
	}
	require.NoError(t, a.Ping(ctx))
	require.Zero(t, a.Stats().Gaps+b.Stats().Gaps)
	for _, node := range cluster.Nodes() {
		client := node.Client(t)
		soon(t, "nobody but this test to have come without TLS", func() bool {
			list, err := client.ClientList(ctx).Result()
			require.NoError(t, err)
			return strings.Count(list, " laddr="+node.Addr()+" ") == 1
		})
	}

	stranger := clusterByTLS(t, addrs, &tls.Config{})
	var err error
	soon(t, "an error that says why a server is not trusted", func() bool {
		err = stranger.Ping(ctx)
		return err != nil && strings.Contains(err.Error(), "certificate signed by unknown authority")
	})
	require.ErrorIs(t, err, layer.ErrUnavailable)
}
