package redistest

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
)

func TestClusterMovesSlotUnderTraffic(t *testing.T) {
	t.Parallel()
	c := startCluster(t, ClusterConfig{Redis: Config{Password: "secret"}})
	client := c.Client(t)
	slot := c.Slot(t, "{bus}0")
	from := c.Owner(t, slot)
	to := c.Nodes()[0]
	if to == from {
		to = c.Nodes()[1]
	}
	for i := range 250 {
		require.NoError(t, client.Set(t.Context(), fmt.Sprintf("{bus}%d", i), i, 0).Err())
	}

	ctx, stop := context.WithCancel(t.Context())
	counted := make(chan int64)
	go func() { // one counter, on and on, while the slot moves
		var n int64
		defer func() { counted <- n }()
		for ctx.Err() == nil {
			got, err := client.Incr(context.WithoutCancel(ctx), "{bus}counter").Result()
			if n++; err != nil || got != n {
				t.Errorf("increment %d, while the slot moves, gave %d, %v", n, got, err)
				return
			}
		}
	}()
	c.MoveSlot(t, slot, to)
	stop()
	n := <-counted

	require.Equal(t, to, c.Owner(t, slot), "the owner of slot %d after it was moved from %s", slot, from.name)
	for i := range 250 {
		value, err := client.Get(t.Context(), fmt.Sprintf("{bus}%d", i)).Result()
		require.NoError(t, err)
		require.Equal(t, strconv.Itoa(i), value)
	}
	require.EqualValues(t, n, client.Incr(t.Context(), "{bus}counter").Val()-1, "the counter after the move")
	require.ErrorContains(t, from.Client(t).Get(t.Context(), "{bus}0").Err(), fmt.Sprintf("MOVED %d %s", slot, to.Addr()))
}

func TestClusterSlotHalfWay(t *testing.T) {
	t.Parallel()
	c := startCluster(t, ClusterConfig{Masters: 2})
	slot := c.Slot(t, "{bus}")
	from := c.Owner(t, slot)
	to := c.Nodes()[0]
	if to == from {
		to = c.Nodes()[1]
	}
	old := from.Client(t)
	require.NoError(t, old.Set(t.Context(), "{bus}old", "1", 0).Err())
	finish := c.BeginMoveSlot(t, slot, to)
	require.Equal(t, "1", old.Get(t.Context(), "{bus}old").Val(), "a key that has not moved")
	require.ErrorContains(t, old.Get(t.Context(), "{bus}new").Err(), fmt.Sprintf("ASK %d %s", slot, to.Addr()))
	require.ErrorContains(t, old.MGet(t.Context(), "{bus}old", "{bus}new").Err(), "TRYAGAIN")
	finish()
	require.Equal(t, "1", to.Client(t).Get(t.Context(), "{bus}old").Val(), "the key after the move")
}

func TestClusterPromotesReplica(t *testing.T) {
	t.Parallel()
	c := startCluster(t, ClusterConfig{Replicas: 1})
	client := c.Client(t)
	require.Len(t, c.Nodes(), 6)
	require.Len(t, c.Addrs(), 6)
	slot := c.Slot(t, "key")
	master := c.Owner(t, slot)
	replicas := c.Replicas(t, master)
	require.Len(t, replicas, 1)
	direct := master.Client(t)
	require.NoError(t, direct.Set(t.Context(), "key", "value", 0).Err())
	require.EqualValues(t, 1, direct.Wait(t.Context(), 1, readyTimeout).Val(), "replicas that have the key")
	require.Equal(t, "value", client.Get(t.Context(), "key").Val())

	began := time.Now()
	promoted := c.KillMaster(t, master)
	t.Logf("promoted after %v", time.Since(began).Round(time.Millisecond))
	require.Equal(t, replicas[0], promoted)
	require.Equal(t, promoted, c.Owner(t, slot))
	require.Equal(t, "value", c.Client(t).Get(t.Context(), "key").Val(), "the key after the failover")

	master.Restart(t)
	require.NoError(t, c.WaitOK(t.Context()))
	require.Equal(t, []*Server{master}, c.Replicas(t, promoted), "replicas of the promoted one")
}

// A client that comes by TLS is sent elsewhere by TLS, and one that comes without
// it as before; and the nodes speak TLS with each other.
func TestClusterByTLS(t *testing.T) {
	t.Parallel()
	c := startCluster(t, ClusterConfig{Redis: Config{TLS: true}, Masters: 2, Replicas: 1})
	addrs, config := c.TLS()
	require.Len(t, addrs, 4)
	encrypted := redis.NewClusterClient(&redis.ClusterOptions{Addrs: addrs[:1], TLSConfig: config, MaxRetries: -1})
	defer encrypted.Close()
	slot := c.Slot(t, "{bus}")
	from := c.Owner(t, slot)
	to := c.Nodes()[0]
	if to == from {
		to = c.Nodes()[1]
	}
	require.NoError(t, encrypted.Set(t.Context(), "{bus}", "value", 0).Err())
	c.MoveSlot(t, slot, to)
	require.Equal(t, "value", encrypted.Get(t.Context(), "{bus}").Val(), "by TLS, after the slot was moved")
	require.Equal(t, "value", c.Client(t).Get(t.Context(), "{bus}").Val(), "without TLS")
	old, _ := from.TLS()
	direct := redis.NewClient(&redis.Options{Addr: old, TLSConfig: config, MaxRetries: -1})
	defer direct.Close()
	moved, _ := to.TLS()
	require.ErrorContains(t, direct.Get(t.Context(), "{bus}").Err(), fmt.Sprintf("MOVED %d %s", slot, moved))
	require.ErrorContains(t, from.Client(t).Get(t.Context(), "{bus}").Err(), fmt.Sprintf("MOVED %d %s", slot, to.Addr()))
}

func TestClusterNodeRestartedEmptyKeepsItsSlots(t *testing.T) {
	t.Parallel()
	c := startCluster(t, ClusterConfig{Redis: Config{AOF: true}})
	client := c.Client(t)
	slot := c.Slot(t, "key")
	node := c.Owner(t, slot)
	require.NoError(t, client.Set(t.Context(), "key", "value", 0).Err())
	node.Restart(t)
	require.NoError(t, c.WaitOK(t.Context()))
	require.Equal(t, "value", c.Client(t).Get(t.Context(), "key").Val())
	node.RestartEmpty(t)
	require.NoError(t, c.WaitOK(t.Context()))
	require.Equal(t, node, c.Owner(t, slot))
	require.Zero(t, c.Client(t).Exists(t.Context(), "key").Val(), "the key exists after its node restarted empty")
}

func startCluster(t *testing.T, config ClusterConfig) *Cluster {
	began := time.Now()
	c := StartCluster(t, config)
	t.Logf("started in %v", time.Since(began).Round(time.Millisecond))
	return c
}

// A node that does not answer when the others introduce themselves, for longer
// than they wait for it, is given up by all of them, and introduced again.
func TestClusterFormsAroundASlowNode(t *testing.T) {
	t.Parallel()
	config := ClusterConfig{Redis: Config{}, Masters: 3, Replicas: 1, NodeTimeout: time.Second}
	c := &Cluster{ids: make(map[*Server]string)}
	require.NoError(t, c.launch(t, newSandbox(t), config))
	require.NoError(t, c.spread(t.Context(), config.Masters))
	others, slow := c.nodes[:5], c.nodes[5]
	slow.Pause()
	for _, node := range others {
		require.NoError(t, node.do(t.Context(), "CLUSTER", "MEET", "127.0.0.1", slow.port).Err())
	}
	for _, node := range others {
		require.NoError(t, await(t.Context(), func(ctx context.Context) error {
			lines, err := c.nodeLines(ctx, node)
			if err == nil && len(lines) > 1 {
				err = errors.New("it still waits for the slow one")
			}
			return err
		}))
	}
	slow.Resume()
	require.NoError(t, c.introduce(t.Context()))
	require.NoError(t, c.WaitOK(t.Context()))
}
