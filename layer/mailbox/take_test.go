package mailbox_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/layer/mailbox"
)

func TestTake(t *testing.T) {
	nothing := func(t *testing.T, s *testSet, channel string) {
		t.Helper()
		msg, _, ok := s.Take(channel)
		require.False(t, ok, "Take(%q) returned %v, want nothing", channel, msg)
	}
	bubble(t, "the oldest first, with its age", layer.Limits{}, func(t *testing.T, s *testSet) {
		nothing(t, s, normal)
		require.False(t, s.Has(normal), "Take made a queue")
		require.NoError(t, s.PutAged(normal, numbered(1), 5*time.Second))
		time.Sleep(time.Second)
		require.NoError(t, s.Put(normal, numbered(2)))
		for n, age := range []time.Duration{6 * time.Second, 0} {
			msg, got, ok := s.Take(normal)
			require.True(t, ok && msg.Equal(numbered(n+1)) && got == age, "Take returned %v, age %v, %v, want message %d, age %v", msg, got, ok, n+1, age)
		}
		nothing(t, s, normal)
		require.Equal(t, mailbox.Stats{Accepted: 2, Taken: 2}, s.Stats())
		s.wantTold()
	})
	bubble(t, "what has expired is counted instead", layer.Limits{}, func(t *testing.T, s *testSet) {
		require.NoError(t, s.Put(normal, numbered(1)))
		require.NoError(t, s.PutAged(normal, numbered(2), expiry-time.Second))
		time.Sleep(2 * time.Second)
		msg, age, ok := s.Take(normal)
		require.True(t, ok && msg.Equal(numbered(1)) && age == 2*time.Second, "Take returned %v, age %v, %v", msg, age, ok)
		nothing(t, s, normal)
		s.wantTold("expired jobs 1")
	})
	bubble(t, "receivers that wait have taken before", layer.Limits{}, func(t *testing.T, s *testSet) {
		go func() { _, _ = s.Receive(t.Context(), specific) }()
		synctest.Wait()
		require.NoError(t, s.Put(specific, numbered(1)))
		nothing(t, s, specific)
		synctest.Wait()
	})
	bubble(t, "it makes room", layer.Limits{Capacity: 1}, func(t *testing.T, s *testSet) {
		require.NoError(t, s.Put(specific, numbered(1)))
		require.ErrorIs(t, s.Put(specific, numbered(2)), layer.ErrChannelFull)
		_, _, ok := s.Take(specific)
		require.True(t, ok)
		require.NoError(t, s.Put(specific, numbered(2)))
	})
	bubble(t, "it does not keep a channel from being abandoned", layer.Limits{}, func(t *testing.T, s *testSet) {
		require.NoError(t, s.Put(specific, numbered(1)))
		require.NoError(t, s.Put(specific, numbered(2)))
		time.Sleep(expiry / 2)
		_, _, ok := s.Take(specific)
		require.True(t, ok)
		time.Sleep(expiry)
		synctest.Wait()
		nothing(t, s, specific)
		s.wantTold("expired "+specific+" 1", "abandoned "+specific)
	})
	bubble(t, "a channel of which all was taken is not abandoned", layer.Limits{}, func(t *testing.T, s *testSet) {
		require.NoError(t, s.Put(specific, numbered(1)))
		_, _, ok := s.Take(specific)
		require.True(t, ok)
		time.Sleep(2 * expiry)
		require.True(t, s.Has(specific))
		s.wantTold()
	})
}
