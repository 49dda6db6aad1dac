package redislayer_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/channellayer/channellayer/internal/redistest"
	"github.com/channellayer/channellayer/redislayer"
)

// ahead has the inbox of b at another master than its slot, and b read it there.
func ahead(t *testing.T, cluster *redistest.Cluster, a, b *redislayer.Layer, channel string) (from, to *redistest.Server, keys []string, finish func()) {
	t.Helper()
	tag := "{" + b.Process() + "}"
	from, to, finish = halfWay(t, cluster, tag)
	keys = []string{"channellayer:inbox:" + tag, "channellayer:lease:" + tag}
	cluster.MoveKeys(t, from, to, keys...)
	soon(t, "a message is sent", func() bool { return a.Send(t.Context(), channel, text("ahead")) == nil })
	require.Equal(t, "ahead", receive(t, b, channel).String("text"))
	return from, to, keys, finish
}

// A process followed its inbox once. Long after the slot has followed, that
// master fails and its replica is promoted: the reader does not look for the
// inbox where it was ahead of its slot.
func TestClusterFailsWhereInboxWasAhead(t *testing.T) {
	cluster := redistest.StartCluster(t, redistest.ClusterConfig{Replicas: 1})
	ctx := t.Context()
	options := redislayer.Options{Timeout: time.Second, Lease: 20 * time.Second}
	a, b := onCluster(t, cluster, options), onCluster(t, cluster, options)
	channel := newChannel(t, b)
	_, to, _, finish := ahead(t, cluster, a, b, channel)
	finish()
	require.NoError(t, cluster.WaitOK(ctx))
	require.NoError(t, a.Send(ctx, channel, text("arrived")))
	require.Equal(t, "arrived", receive(t, b, channel).String("text"))

	to.Kill()
	soon(t, "a replica that was promoted", func() bool { return a.Send(ctx, channel, text("promoted")) == nil })
	connected(t, b)
	require.Equal(t, "promoted", receive(t, b, channel).String("text"))
}

// The inbox goes back to its slot's master while the other still takes the slot
// to be coming: that one answers as if the inbox were there, and empty.
func TestClusterInboxGoesBack(t *testing.T) {
	cluster := redistest.StartCluster(t, redistest.ClusterConfig{})
	ctx := t.Context()
	options := redislayer.Options{Timeout: time.Second, Lease: 6 * time.Second}
	a, b := onCluster(t, cluster, options), onCluster(t, cluster, options)
	channel := newChannel(t, b)
	from, to, keys, _ := ahead(t, cluster, a, b, channel)
	require.NoError(t, from.Client(t).Do(ctx, "CLUSTER", "SETSLOT", cluster.Slot(t, "{"+b.Process()+"}"), "STABLE").Err())
	cluster.MoveKeys(t, to, from, keys...)
	soon(t, "a message is sent", func() bool { return a.Send(ctx, channel, text("back")) == nil })
	require.Equal(t, "back", receive(t, b, channel).String("text"))
	connected(t, b)
	require.Zero(t, b.Stats().Gaps)
}
