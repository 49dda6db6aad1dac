package mailbox_test

import (
	"testing"
	"testing/synctest"
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

func TestFanAll(t *testing.T) {
	limits := layer.Limits{Capacity: 3, Expiry: expiry}
	messages := []layer.Message{numbered(1), numbered(2), numbered(3), numbered(4)}
	bubble(t, "puts in order, as many as there is room for", limits, func(t *testing.T, s *testSet) {
		for _, ref := range []mailbox.Ref{{}, s.Ref(specific)} {
			for _, channel := range []string{specific, normal} {
				fan := s.FanAll(messages[:2], 0)
				taken, err := fan.PutAll(channel, ref)
				require.NoError(t, err)
				require.Equal(t, 2, taken)
				fan = s.FanAll(messages[2:], 0)
				taken, err = fan.PutAll(channel, ref)
				require.Equal(t, layer.ErrChannelFull, err)
				require.Equal(t, 1, taken, "of 2 messages, with 2 of 3 places taken")
				s.receive(channel, 1, 2, 3)
				ref = mailbox.Ref{}
			}
		}
		require.EqualValues(t, 12, s.Stats().Fanned)
	})
	bubble(t, "who waits is woken once, and finds the rest", limits, func(t *testing.T, s *testSet) {
		for _, channel := range []string{specific, normal} {
			got := make(chan []int64, 1)
			go func() {
				buf := make([]layer.Message, 3)
				n, err := s.ReceiveBatch(t.Context(), channel, buf)
				if err != nil {
					t.Error(err)
				}
				got <- numbers(buf[:n])
			}()
			synctest.Wait()
			fan := s.FanAll(messages, 0)
			taken, err := fan.PutAll(channel, mailbox.Ref{})
			require.NoError(t, err, "one goes to the receiver, three into the mailbox")
			require.Equal(t, 4, taken)
			require.Equal(t, []int64{1, 2, 3}, <-got)
			s.receive(channel, 4)
		}
	})
	bubble(t, "several who wait get one each, in order of arrival", limits, func(t *testing.T, s *testSet) {
		results := make(chan result, 2)
		s.start(t.Context(), 1, specific, results)
		s.start(t.Context(), 2, specific, results)
		fan := s.FanAll(messages, 0)
		taken, err := fan.PutAll(specific, s.Ref(specific))
		require.NoError(t, err)
		require.Equal(t, 4, taken)
		require.ElementsMatch(t, []result{{1, 1, nil}, {2, 2, nil}}, []result{<-results, <-results})
		s.receive(specific, 3, 4)
	})
	bubble(t, "makes room of what has expired, and expires itself", limits, func(t *testing.T, s *testSet) {
		s.put("other", 7) // from now on the sweeper comes by, but not when messages expire here
		time.Sleep(time.Second / 3)
		s.put(normal, 8, 9)
		time.Sleep(expiry - 1)
		fan := s.FanAll(messages, time.Second)
		taken, err := fan.PutAll(normal, mailbox.Ref{})
		require.Equal(t, layer.ErrChannelFull, err)
		require.Equal(t, 1, taken, "of 4 messages, with 2 of 3 places taken")
		time.Sleep(time.Nanosecond)
		fan = s.FanAll(messages[1:], time.Second)
		taken, err = fan.PutAll(normal, mailbox.Ref{})
		require.Equal(t, layer.ErrChannelFull, err)
		require.Equal(t, 2, taken, "of 3 messages, where two of three unread have expired")
		s.wantTold("expired other 1", "expired jobs 2")
		time.Sleep(expiry - time.Second - 1)
		require.Equal(t, 2, s.Len(normal))
		time.Sleep(time.Nanosecond)
		require.Zero(t, s.Len(normal))
		fan = s.FanAll(messages, expiry)
		taken, err = fan.PutAll(normal, mailbox.Ref{})
		require.NoError(t, err)
		require.Equal(t, 4, taken, "too old when they came: counted")
		s.wantTold("expired jobs 1", "expired jobs 2", "expired jobs 1", "expired jobs 1", "expired jobs 1", "expired jobs 1")
	})
	bubble(t, "a channel that is gone takes none", limits, func(t *testing.T, s *testSet) {
		ref := s.Ref(specific)
		s.Release(specific)
		fan := s.FanAll(messages, 0)
		taken, err := fan.PutAll(specific, ref)
		require.Equal(t, layer.ErrChannelGone, err)
		require.Zero(t, taken)
		require.Zero(t, s.Stats().Accepted)
	})
}
