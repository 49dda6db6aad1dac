package mailbox_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/layer/mailbox"
)

func TestNotify(t *testing.T) {
	limits := layer.Limits{Capacity: 2, Expiry: expiry}
	bubble(t, "finds room on a full channel, keeps its place, and takes none from messages", limits, func(t *testing.T, s *testSet) {
		s.put(specific, 1, 2)
		require.True(t, s.Notify(specific, numbered(100)))
		require.Equal(t, 3, s.Len(specific))
		require.ErrorIs(t, s.Put(specific, numbered(3)), layer.ErrChannelFull)
		s.receive(specific, 1)
		s.put(specific, 3)
		require.ErrorIs(t, s.Put(specific, numbered(4)), layer.ErrChannelFull)
		s.receive(specific, 2, 100, 3)
		require.Zero(t, s.Len(specific))
	})
	bubble(t, "one unread notice is enough", limits, func(t *testing.T, s *testSet) {
		require.True(t, s.Notify(specific, numbered(100)))
		s.put(specific, 1)
		require.True(t, s.Notify(specific, numbered(101)))
		s.receive(specific, 100)
		require.True(t, s.Notify(specific, numbered(102)), "after the first was read")
		s.receive(specific, 1, 102)
		require.Equal(t, mailbox.Stats{Accepted: 3, Received: 3}, s.Stats())
	})
	bubble(t, "an equal message is not taken for the notice", limits, func(t *testing.T, s *testSet) {
		notice := numbered(100)
		require.NoError(t, s.Put(specific, notice))
		require.True(t, s.Notify(specific, notice))
		require.NoError(t, s.Put(specific, notice))
		s.receive(specific, 100)
		require.True(t, s.Notify(specific, notice), "while one is unread")
		s.receive(specific, 100, 100)
		require.Zero(t, s.Len(specific))
	})
	bubble(t, "goes to the receiver that has waited longest", limits, func(t *testing.T, s *testSet) {
		results := make(chan result, 2)
		s.start(t.Context(), 1, specific, results)
		s.start(t.Context(), 2, specific, results)
		require.True(t, s.Notify(specific, numbered(100)))
		require.Equal(t, result{1, 100, nil}, <-results)
		require.True(t, s.Notify(specific, numbered(101)))
		require.Equal(t, result{2, 101, nil}, <-results)
	})
	bubble(t, "expires as a message does", limits, func(t *testing.T, s *testSet) {
		require.True(t, s.Notify(specific, numbered(100)))
		time.Sleep(expiry - 1)
		require.True(t, s.Notify(specific, numbered(101)))
		time.Sleep(time.Nanosecond)
		require.False(t, s.Notify(specific, numbered(102)), "the channel was abandoned")
		s.wantTold("expired specific.abc!def 1", "abandoned specific.abc!def")
	})
	bubble(t, "after one that expired", limits, func(t *testing.T, s *testSet) {
		s.put(specific, 1)
		require.True(t, s.Notify(specific, numbered(100)))
		time.Sleep(expiry / 2)
		s.receive(specific, 1)
		time.Sleep(expiry / 2)
		require.True(t, s.Notify(specific, numbered(101)))
		s.wantTold("expired specific.abc!def 1")
		s.receive(specific, 101)
	})
	bubble(t, "not for normal channels, or such as are not open", limits, func(t *testing.T, s *testSet) {
		s.put(normal, 1)
		for _, channel := range []string{normal, "other", "not!open", "a b"} {
			require.False(t, s.Notify(channel, numbered(100)), "Notify(%q)", channel)
		}
		s.receive(normal, 1)
		require.False(t, s.Has("other"))
	})
	bubble(t, "after Clear", limits, func(t *testing.T, s *testSet) {
		require.True(t, s.Notify(specific, numbered(100)))
		s.Clear()
		s.put(specific, 1, 2)
		require.ErrorIs(t, s.Put(specific, numbered(3)), layer.ErrChannelFull)
		require.True(t, s.Notify(specific, numbered(101)))
		s.receive(specific, 1, 2, 101)
	})
}

func TestHandOver(t *testing.T) {
	bubble(t, "to the receiver that has waited longest, or to nobody", layer.Limits{}, func(t *testing.T, s *testSet) {
		for _, channel := range []string{normal, specific} {
			require.False(t, s.HandOver(channel, numbered(1)), "on %q, where nobody waits", channel)
			results := make(chan result, 2)
			s.start(t.Context(), 1, channel, results)
			s.start(t.Context(), 2, channel, results)
			require.True(t, s.HandOver(channel, numbered(2)))
			require.Equal(t, result{1, 2, nil}, <-results)
			require.True(t, s.HandOver(channel, numbered(3)))
			require.Equal(t, result{2, 3, nil}, <-results)
			require.False(t, s.HandOver(channel, numbered(4)))
			require.Zero(t, s.Len(channel), "unread messages of %q", channel)
		}
		require.Equal(t, mailbox.Stats{Accepted: 4, Received: 4}, s.Stats())
		require.False(t, s.HandOver("never.seen", numbered(5)))
		require.False(t, s.Has("never.seen"))
	})
}

func TestChannels(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSet(t, layer.Limits{})
		s.put(normal, 1)
		want := map[string]int{specific: 1}
		for n := range 1000 {
			name := fmt.Sprintf("client!%d", n)
			require.NoError(t, s.Open(name))
			want[name] = 1
		}
		got := map[string]int{}
		for name := range s.Channels() {
			got[name]++
			require.True(t, s.Has(name)) // deadlocks if a lock is held
		}
		require.Equal(t, want, got)
		visits := 0
		for name := range s.Channels() {
			s.Release(name)
			if visits++; visits == 10 {
				break
			}
		}
		require.Equal(t, 10, visits)
	})
}
