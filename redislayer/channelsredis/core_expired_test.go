package channelsredis_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/channellayer/channellayer/internal/redistest"
	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/redislayer/channelsredis"
)

// What expires in a queue at Redis is counted by whoever removes it, or put the
// last message there, whatever clock the messages have.
func TestCoreCountsWhatExpiresAtRedis(t *testing.T) {
	const expiry = 200 * time.Millisecond
	open := func(t *testing.T) (*channelsredis.Core, *redis.Client) {
		server := redistest.Start(t, redistest.Config{})
		c, err := channelsredis.OpenCore(t.Context(), []string{server.URL()}, channelsredis.Options{Expiry: expiry})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, c.Close()) })
		client := redis.NewClient(&redis.Options{Addr: server.Addr()})
		t.Cleanup(func() { client.Close() })
		return c, client
	}
	foreign := func(t *testing.T, client *redis.Client, channel string, age time.Duration, n int) {
		for i := range n {
			z := redis.Z{Score: float64(time.Now().Add(-age).UnixMicro()) / 1e6, Member: fmt.Sprint("12 bytes of a prefix", i)}
			require.NoError(t, client.ZAdd(t.Context(), "asgi"+channel, z).Err())
		}
	}
	expired := func(t *testing.T, c *channelsredis.Core, want uint64) {
		t.Helper()
		soon(t, fmt.Sprint(want, " expired messages to be counted"), func() bool {
			return c.Stats().Dropped == layer.Drops{layer.DropExpired: want}
		})
	}

	t.Run("by Send", func(t *testing.T) {
		c, client := open(t)
		foreign(t, client, "jobs", time.Minute, 3)
		require.NoError(t, c.Send(t.Context(), "jobs", say("x")))
		expired(t, c, 3+1)
	})
	t.Run("by GroupSend", func(t *testing.T) {
		c, client := open(t)
		require.NoError(t, c.GroupAdd(t.Context(), "g", "jobs"))
		for range 2 { // the second time the plan is kept
			foreign(t, client, "jobs", time.Minute, 3)
			require.NoError(t, c.GroupSend(t.Context(), "g", say("x")))
		}
		expired(t, c, 2*(3+1))
	})
	t.Run("after messages of a clock that is ahead", func(t *testing.T) {
		c, client := open(t)
		foreign(t, client, "jobs", -900*time.Millisecond, 1)
		require.NoError(t, c.Send(t.Context(), "jobs", say("x"))) // goes behind it
		expired(t, c, 1+1)
	})
}

// Members that have expired do not stay at Redis for as long as others join,
// whoever sends to the group.
func TestCoreExpiredMembersAreRemoved(t *testing.T) {
	ctx := t.Context()
	server := redistest.Start(t, redistest.Config{})
	client := server.Client(t)
	c := openOne(t, server, channelsredis.Options{GroupExpiry: time.Minute})
	now := float64(time.Now().UnixMicro()) / 1e6
	require.NoError(t, c.GroupAdd(ctx, "g", "first"))
	require.NoError(t, c.GroupSend(ctx, "g", say("x"))) // makes the plan
	for age, member := range map[float64]string{59: "young", 61: "old", 3600: "older"} {
		require.NoError(t, client.ZAdd(ctx, "asgi:group:g", redis.Z{Score: now - age, Member: member}).Err())
	}
	require.NoError(t, c.GroupSend(ctx, "g", say("x")))
	require.NoError(t, c.GroupAdd(ctx, "g", "last"))
	require.Equal(t, []string{"young", "first", "last"}, client.ZRange(ctx, "asgi:group:g", 0, -1).Val())
}
