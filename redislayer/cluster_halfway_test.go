package redislayer_test

import (
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/channellayer/channellayer/internal/redistest"
	"github.com/channellayer/channellayer/redislayer"
)

// A process whose inbox has been moved while its slot stands half-way is cut
// off until that ends. What it is sent meanwhile waits for it, and it reports
// no gap.
func TestClusterInboxHalfWay(t *testing.T) {
	cluster := redistest.StartCluster(t, redistest.ClusterConfig{})
	ctx := t.Context()
	a := onCluster(t, cluster, redislayer.Options{})
	b := onCluster(t, cluster, redislayer.Options{Timeout: 500 * time.Millisecond, Lease: 6 * time.Second})
	channel := newChannel(t, b)
	require.NoError(t, b.GroupAdd(ctx, "room", channel))
	tag := "{" + b.Process() + "}"
	slot := cluster.Slot(t, tag)
	from, to := cluster.Owner(t, slot), cluster.Nodes()[0]
	if to == from {
		to = cluster.Nodes()[1]
	}
	finish := cluster.BeginMoveSlot(t, slot, to)
	host, port, err := net.SplitHostPort(to.Addr())
	require.NoError(t, err)
	require.NoError(t, from.Client(t).Do(ctx, "MIGRATE", host, port, "", 0, 5000,
		"KEYS", "channellayer:inbox:"+tag, "channellayer:lease:"+tag).Err())
	soon(t, "a Ping that fails: the heartbeat was sent elsewhere", func() bool { return b.Ping(ctx) != nil })
	require.NoError(t, a.Send(ctx, channel, text("half-way")))
	finish()
	require.Equal(t, "half-way", receive(t, b, channel).String("text"))
	connected(t, b)
	require.NoError(t, a.GroupSend(ctx, "room", text("moved")))
	require.Equal(t, "moved", receive(t, b, channel).String("text"))
	require.Zero(t, b.Stats().Gaps, "gaps, and nothing was lost")
}
