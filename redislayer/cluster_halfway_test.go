package redislayer_test

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/channellayer/channellayer/internal/redistest"
	"github.com/channellayer/channellayer/redislayer"
)

// halfWay begins to move the slot of a process's keys to another master.
func halfWay(tb testing.TB, cluster *redistest.Cluster, tag string) (from, to *redistest.Server, finish func()) {
	tb.Helper()
	slot := cluster.Slot(tb, tag)
	from, to = cluster.Owner(tb, slot), cluster.Nodes()[0]
	if to == from {
		to = cluster.Nodes()[1]
	}
	return from, to, cluster.BeginMoveSlot(tb, slot, to)
}

// cutAll has a server close the connections of all clients.
func cutAll(tb testing.TB, server *redistest.Server) {
	tb.Helper()
	require.NoError(tb, server.Client(tb).Do(tb.Context(), "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes").Err())
}

// A process goes on while the slot of its inbox stands half-way, for longer
// than its lease: first with the inbox where it was, then with the inbox at the
// other node, also over new connections. Nothing is lost, and no gap reported.
func TestClusterInboxHalfWay(t *testing.T) {
	const lease = 3 * time.Second
	cluster := redistest.StartCluster(t, redistest.ClusterConfig{})
	ctx := t.Context()
	options := redislayer.Options{Timeout: lease / 4, Lease: lease}
	a, b := onCluster(t, cluster, options), onCluster(t, cluster, options)
	channel := newChannel(t, b)
	require.NoError(t, b.GroupAdd(ctx, "room", channel))
	tag := "{" + b.Process() + "}"
	inbox := "channellayer:inbox:" + tag
	n := 0
	exchange := func() (took time.Duration) {
		t.Helper()
		began := time.Now()
		for range 2 {
			n++
			soon(t, "a message is sent", func() bool { return a.Send(ctx, channel, text(fmt.Sprint(n))) == nil })
			require.Equal(t, fmt.Sprint(n), receive(t, b, channel).String("text"))
		}
		return time.Since(began)
	}
	exchangeFor := func(d time.Duration) {
		t.Helper()
		for began := time.Now(); time.Since(began) < d; {
			exchange()
		}
	}

	from, to, finish := halfWay(t, cluster, tag)
	exchange()
	cutAll(t, from)
	exchangeFor(lease / 3)
	connected(t, b)

	cluster.MoveKeys(t, from, to, inbox, "channellayer:lease:"+tag)
	t.Logf("a message to an inbox that has just been moved took %v", exchange().Round(time.Millisecond))
	exchangeFor(lease * 3 / 2)
	connected(t, b)
	require.NoError(t, b.GroupAdd(ctx, "hall", channel))
	require.NoError(t, a.GroupSend(ctx, "hall", text("to all")))
	require.Equal(t, "to all", receive(t, b, channel).String("text"))
	cutAll(t, to)
	exchangeFor(lease / 3)
	connected(t, b)
	soon(t, "an inbox that was trimmed", func() bool {
		length, err := cluster.Client(t).XLen(ctx, inbox).Result()
		return err == nil && length < int64(n)/2
	})

	finish()
	exchangeFor(lease / 3)
	require.NoError(t, a.GroupSend(ctx, "room", text("moved")))
	require.Equal(t, "moved", receive(t, b, channel).String("text"))
	require.Zero(t, b.Stats().Gaps, "gaps, and nothing was lost")
	require.Zero(t, a.Stats().Dropped, b.Stats().Dropped)
}

// Close removes an inbox that is at the node to which its slot is on its way.
func TestClusterCloseHalfWay(t *testing.T) {
	cluster := redistest.StartCluster(t, redistest.ClusterConfig{})
	l := onCluster(t, cluster, redislayer.Options{})
	tag := "{" + l.Process() + "}"
	from, to, finish := halfWay(t, cluster, tag)
	cluster.MoveKeys(t, from, to, "channellayer:inbox:"+tag, "channellayer:lease:"+tag)
	require.NoError(t, l.Close())
	finish()
	for _, node := range cluster.Nodes() {
		require.Empty(t, node.Client(t).Keys(t.Context(), "*").Val(), "keys that are left")
	}
}

// A process that begins, and whose inbox would be in a slot that stands
// half-way, connects when the slot has arrived.
func TestClusterBeginHalfWay(t *testing.T) {
	cluster := redistest.StartCluster(t, redistest.ClusterConfig{})
	gate := make(chan struct{})
	client := redis.NewClusterClient(&redis.ClusterOptions{
		Addrs: cluster.Addrs(),
		Dialer: func(ctx context.Context, network, addr string) (net.Conn, error) {
			select {
			case <-gate:
			case <-ctx.Done():
				return nil, ctx.Err()
			}
			var d net.Dialer
			return d.DialContext(ctx, network, addr)
		},
	})
	defer client.Close()
	l, err := redislayer.New(client, redislayer.Options{})
	require.NoError(t, err)
	defer l.Close()
	_, _, finish := halfWay(t, cluster, "{"+l.Process()+"}")
	close(gate)
	soon(t, "a Ping that tells of the slot", func() bool {
		err := l.Ping(t.Context())
		return err != nil && strings.Contains(err.Error(), "TRYAGAIN")
	})
	finish()
	soon(t, "it is connected", func() bool { return l.Ping(t.Context()) == nil })
	require.Zero(t, l.Stats().Gaps)
}

// The node to which an inbox has gone ahead does not answer for a while, so
// that the process asks the slot's master again, and is sent back: that is no
// gap.
func TestClusterNodeAheadAway(t *testing.T) {
	const timeout = 500 * time.Millisecond
	cluster := redistest.StartCluster(t, redistest.ClusterConfig{NodeTimeout: 10 * time.Second})
	ctx := t.Context()
	b := onCluster(t, cluster, redislayer.Options{Timeout: timeout, Lease: 12 * timeout})
	tag := "{" + b.Process() + "}"
	from, to, finish := halfWay(t, cluster, tag)
	cluster.MoveKeys(t, from, to, "channellayer:inbox:"+tag, "channellayer:lease:"+tag)
	cutAll(t, from)
	soon(t, "it has followed", func() bool {
		list := to.Client(t).ClientList(ctx).Val()
		return strings.Contains(list, "cmd=xread") && b.Ping(ctx) == nil
	})
	to.Pause()
	sentBack := func() string { return from.Info(t, "errorstats")["errorstat_ASK"] }
	before := sentBack()
	soon(t, "it finds out, and asks the slot's master", func() bool {
		b.Ping(ctx)
		return sentBack() != before
	})
	to.Resume()
	connected(t, b)
	finish()
	connected(t, b)
	require.Zero(t, b.Stats().Gaps)
}
