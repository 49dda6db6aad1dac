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
	bubble(t, "what returns is the first again", layer.Limits{Capacity: 2}, func(t *testing.T, s *testSet) {
		for _, channel := range []string{normal, specific} {
			s.put(channel, 1, 2)
			msg, age, ok := s.Take(channel)
			require.True(t, ok)
			s.put(channel, 3)
			require.NoError(t, s.Return(channel, msg, age), "to a full channel")
			require.Equal(t, 3, s.Len(channel))
			require.ErrorIs(t, s.Put(channel, numbered(4)), layer.ErrChannelFull)
			s.receive(channel, 1, 2, 3)
		}
		require.Equal(t, mailbox.Stats{Accepted: 8, Taken: 2, Received: 6}, s.Stats())
	})
	bubble(t, "what returns goes in front of a notice", layer.Limits{}, func(t *testing.T, s *testSet) {
		require.True(t, s.Notify(specific, numbered(2)))
		require.NoError(t, s.Return(specific, numbered(1), 0))
		s.receive(specific, 1)
		require.True(t, s.Notify(specific, numbered(3)), "the earlier one is unread")
		s.receive(specific, 2)
		require.Zero(t, s.Len(specific))
	})
	bubble(t, "what returns expires at its time", layer.Limits{}, func(t *testing.T, s *testSet) {
		require.NoError(t, s.Return(normal, numbered(1), expiry-time.Second))
		s.put(normal, 2)
		time.Sleep(time.Second)
		require.NoError(t, s.Return(normal, numbered(3), expiry))
		s.receive(normal, 2)
		s.wantTold("expired jobs 1", "expired jobs 1")
	})
	bubble(t, "a receiver that waits gets what returns", layer.Limits{}, func(t *testing.T, s *testSet) {
		results := make(chan result, 1)
		s.start(t.Context(), 1, normal, results)
		require.NoError(t, s.Return(normal, numbered(7), 0))
		require.Equal(t, result{1, 7, nil}, <-results)
	})
	bubble(t, "nothing returns to a channel that is gone", layer.Limits{}, func(t *testing.T, s *testSet) {
		s.Release(specific)
		require.ErrorIs(t, s.Return(specific, numbered(1), 0), layer.ErrChannelGone)
		s.Close()
		require.ErrorIs(t, s.Return(normal, numbered(1), 0), layer.ErrClosed)
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
