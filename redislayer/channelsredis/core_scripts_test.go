package channelsredis

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/channellayer/channellayer/internal/redistest"
	"github.com/channellayer/channellayer/layer"
)

// A process that ends removes its queues, and counts what is in them, also where
// something else stands in the place of one.
func TestCoreEndBesideForeignKey(t *testing.T) {
	client, ctx := redistest.Start(t, redistest.Config{}).Client(t), t.Context()
	require.NoError(t, client.Set(ctx, "asgione!", "x", 0).Err())
	require.NoError(t, client.ZAdd(ctx, "asgitwo!", redis.Z{Score: 1, Member: "a"}, redis.Z{Score: 2, Member: "b"}).Err())
	n, err := client.Eval(ctx, endScript.Source, []string{"asgione!", "asgitwo!"}).Int()
	require.NoError(t, err)
	require.Equal(t, 2, n)
	require.Empty(t, client.Keys(ctx, "*").Val())
}

// Which members of a group have expired, the server's clock says, and not what
// this process takes it to be: after the server's clock was set back, nobody is
// removed.
func TestCoreGroupExpiryByTheServersClock(t *testing.T) {
	server := redistest.Start(t, redistest.Config{})
	client, ctx := server.Client(t), t.Context()
	c, err := OpenCore(ctx, []string{server.URL()}, Options{GroupExpiry: time.Hour})
	require.NoError(t, err)
	defer c.Close()
	for range digestMembers + 20 {
		channel, err := c.NewChannel(ctx, "")
		require.NoError(t, err)
		require.NoError(t, c.GroupAdd(ctx, "g", channel))
	}
	before := client.ZCard(ctx, c.groupKey("g")).Val()
	w := c.hosts[0].writer
	w.clock.Add(int64(2 * time.Hour)) // it was later there than it is now
	require.NoError(t, c.GroupSend(ctx, "g", layer.NewMessage(map[string]any{"type": "t"})))
	require.Equal(t, before, client.ZCard(ctx, c.groupKey("g")).Val(), "members after a group send")

	// The time of one that has expired is over all the same.
	require.NoError(t, client.ZAdd(ctx, c.groupKey("g"), redis.Z{Score: float64(time.Now().Add(-61 * time.Minute).Unix()), Member: "expired"}).Err())
	require.NoError(t, c.GroupSend(ctx, "g", layer.NewMessage(map[string]any{"type": "t"})))
	require.Equal(t, before, client.ZCard(ctx, c.groupKey("g")).Val(), "members after one had expired")
}

// A message that was taken for a receiver who has gone is given back also when
// memory is full.
func TestCoreBackWhenMemoryIsFull(t *testing.T) {
	client, ctx := redistest.Start(t, redistest.Config{}).Client(t), t.Context()
	require.NoError(t, client.ConfigSet(ctx, "maxmemory", "1").Err())
	require.NoError(t, client.Eval(ctx, backScript.Source, []string{"asgijobs"}, 60_000, "1.5", "a", "2.5", "b").Err())
	require.Equal(t, []redis.Z{{Score: 1.5, Member: "a"}, {Score: 2.5, Member: "b"}}, client.ZRangeWithScores(ctx, "asgijobs", 0, -1).Val())
	require.Positive(t, client.PTTL(ctx, "asgijobs").Val())
}

// Who leaves a group is let go, however many join at the same time for whom there
// is no memory.
func TestCoreLeavesWhenMemoryIsFull(t *testing.T) {
	server := redistest.Start(t, redistest.Config{})
	client, ctx := server.Client(t), t.Context()
	c, err := OpenCore(ctx, []string{server.URL()}, Options{Timeout: 10 * time.Second})
	require.NoError(t, err)
	defer c.Close()
	const members = 50
	for n := range members {
		require.NoError(t, c.GroupAdd(ctx, "g", fmt.Sprint("old.", n)))
	}
	require.NoError(t, client.ConfigSet(ctx, "maxmemory", "1").Err())

	server.Pause() // what is called meanwhile goes together
	w := c.hosts[0].writer
	queued := func() int {
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.queued.Len()
	}
	busy := func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return !w.turn.Free()
	}
	until := func(so func() bool) {
		for !so() {
			runtime.Gosched()
		}
	}
	pinged := make(chan error)
	go func() { pinged <- c.Ping(ctx) }()
	until(busy)
	joined, left := make(chan error, members), make(chan error, members)
	for n := range members {
		go func() { joined <- c.GroupAdd(ctx, "g", fmt.Sprint("new.", n)) }()
		go func() { left <- c.GroupDiscard(ctx, "g", fmt.Sprint("old.", n)) }()
	}
	until(func() bool { return queued() == 2*members })
	server.Resume()
	require.NoError(t, <-pinged)
	for range members {
		require.ErrorIs(t, <-joined, layer.ErrNotSent)
		require.NoError(t, <-left)
	}
	require.Empty(t, client.ZRange(ctx, c.groupKey("g"), 0, -1).Val())
}
