package redistest

import (
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
)

func TestSentinelPromotesReplica(t *testing.T) {
	t.Parallel()
	s := startSentinel(t, SentinelConfig{Redis: Config{Password: "secret"}})
	client := s.Client(t)
	old, replica := s.Master(), s.Replica()
	require.NotEqual(t, old, replica)
	require.NoError(t, client.Set(t.Context(), "key", "value", 0).Err())
	require.EqualValues(t, 1, client.Wait(t.Context(), 1, readyTimeout).Val(), "replicas that have the key")

	s.KillMaster()
	promoted := waitPromoted(t, s)
	require.Equal(t, replica, promoted)
	require.Equal(t, promoted, s.Master())
	require.Equal(t, old, s.Replica())
	require.Equal(t, "value", promoted.Client(t).Get(t.Context(), "key").Val(), "the key after the failover")
	require.Equal(t, "value", s.Client(t).Get(t.Context(), "key").Val(), "the key, by way of the sentinels")

	// The old master comes back as a replica, and can be promoted in turn.
	old.Restart(t)
	require.NoError(t, s.awaitLink("up"))
	s.KillMaster()
	require.Equal(t, old, waitPromoted(t, s))
	require.Equal(t, "value", old.Client(t).Get(t.Context(), "key").Val(), "the key after the second failover")
}

func TestLaggingReplicaLosesTheTail(t *testing.T) {
	t.Parallel()
	s := startSentinel(t, SentinelConfig{})
	client := s.Master().Client(t)
	require.NoError(t, client.Set(t.Context(), "before", "1", 0).Err())
	require.EqualValues(t, 1, client.Wait(t.Context(), 1, readyTimeout).Val())

	s.LagReplica(t)
	require.NoError(t, client.Set(t.Context(), "caught up", "1", 0).Err())
	require.ErrorIs(t, s.Replica().Client(t).Get(t.Context(), "caught up").Err(), redis.Nil)
	s.CatchUpReplica(t)
	require.Equal(t, "1", s.Replica().Client(t).Get(t.Context(), "caught up").Val())

	s.LagReplica(t)
	require.NoError(t, client.Set(t.Context(), "tail", "1", 0).Err())
	s.KillMaster()
	promoted := waitPromoted(t, s).Client(t)
	require.Equal(t, "1", promoted.Get(t.Context(), "before").Val(), "what was replicated")
	require.Equal(t, "1", promoted.Get(t.Context(), "caught up").Val(), "what was replicated")
	require.ErrorIs(t, promoted.Get(t.Context(), "tail").Err(), redis.Nil, "what was written while the replica lagged should be lost")
}

func TestFailoverDemotesALivingMaster(t *testing.T) {
	t.Parallel()
	s := startSentinel(t, SentinelConfig{})
	old := s.Master()
	s.Failover(t)
	waitPromoted(t, s)
	require.NoError(t, s.awaitLink("up"))
	require.ErrorContains(t, old.Client(t).Set(t.Context(), "key", "", 0).Err(), "READONLY")
}

func startSentinel(t *testing.T, config SentinelConfig) *Sentinel {
	began := time.Now()
	s := StartSentinel(t, config)
	t.Logf("started in %v", time.Since(began).Round(time.Millisecond))
	return s
}

func waitPromoted(t *testing.T, s *Sentinel) *Server {
	t.Helper()
	began := time.Now()
	promoted, err := s.WaitPromoted(t.Context())
	require.NoError(t, err)
	t.Logf("promoted after %v", time.Since(began).Round(time.Millisecond))
	return promoted
}
