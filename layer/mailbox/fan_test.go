package mailbox_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/layer/mailbox"
)

func TestFan(t *testing.T) {
	limits := layer.Limits{Capacity: 2, Expiry: expiry}
	bubble(t, "puts by Ref and by name alike", limits, func(t *testing.T, s *testSet) {
		for _, ref := range []mailbox.Ref{{}, s.Ref(specific)} {
			for n := range 2 {
				fan := s.Fan(numbered(n), 0)
				require.NoError(t, fan.Put(specific, ref))
				require.NoError(t, fan.Put(normal, mailbox.Ref{}))
			}
			fan := s.Fan(numbered(3), 0)
			require.Equal(t, layer.ErrChannelFull, fan.Put(specific, ref))
			require.Equal(t, layer.ErrChannelFull, fan.Put(normal, mailbox.Ref{}))
			s.receive(specific, 0, 1)
			s.receive(normal, 0, 1)
		}
	})
	bubble(t, "hands over to a receiver that waits", limits, func(t *testing.T, s *testSet) {
		results := make(chan result, 1)
		s.start(t.Context(), 1, specific, results)
		fan := s.Fan(numbered(7), 0)
		require.NoError(t, fan.Put(specific, s.Ref(specific)))
		require.Equal(t, result{1, 7, nil}, <-results)
	})
	bubble(t, "a Ref of a released channel is no harm", limits, func(t *testing.T, s *testSet) {
		stale := s.Ref(specific)
		s.Release(specific)
		fan := s.Fan(numbered(1), 0)
		require.Equal(t, layer.ErrChannelGone, fan.Put(specific, stale))
		require.NoError(t, s.Open(specific))
		require.NoError(t, fan.Put(specific, stale), "after it was opened again")
		s.receive(specific, 1)
		require.NotEqual(t, stale, s.Ref(specific))
		require.Equal(t, mailbox.Stats{Accepted: 1, Fanned: 1, Received: 1}, s.Stats())
		s.Close()
		require.ErrorIs(t, fan.Put(specific, stale), layer.ErrClosed)
		require.ErrorIs(t, fan.Put(specific, stale), layer.ErrNotSent)
	})
	bubble(t, "there is no Ref of what is not open, nor of a normal channel", limits, func(t *testing.T, s *testSet) {
		s.put(normal, 1)
		for _, channel := range []string{normal, "not!open", "a b"} {
			require.Zero(t, s.Ref(channel), "Ref(%q)", channel)
		}
	})
	bubble(t, "the message has the age it came with on each channel", limits, func(t *testing.T, s *testSet) {
		fan := s.Fan(numbered(1), expiry-time.Second)
		require.NoError(t, fan.Put(normal, mailbox.Ref{}))
		require.NoError(t, fan.Put("other", mailbox.Ref{}))
		time.Sleep(time.Second - 1)
		s.receive(normal, 1)
		time.Sleep(time.Nanosecond)
		require.Zero(t, s.Len("other"))
		fan = s.Fan(numbered(2), expiry)
		require.NoError(t, fan.Put(specific, s.Ref(specific)))
		s.wantTold("expired other 1", "expired specific.abc!def 1")
	})
	bubble(t, "the clock is read again after some puts", layer.Limits{Capacity: 1000, Expiry: expiry}, func(t *testing.T, s *testSet) {
		time.Sleep(time.Nanosecond)
		fan := s.Fan(numbered(1), 0)
		require.NoError(t, fan.Put(normal, mailbox.Ref{}))
		time.Sleep(expiry / 2)
		for range 100 {
			require.NoError(t, fan.Put("other", mailbox.Ref{}))
		}
		time.Sleep(expiry / 2)
		require.Less(t, s.Len("other"), 64, "of 100 put half the expiry ago by a Fan that had read the clock before")
		require.NotZero(t, s.Len("other"))
		time.Sleep(expiry / 2)
		require.Zero(t, s.Len("other"))
	})
}
