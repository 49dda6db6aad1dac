package mailbox_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/layer/mailbox"
)

func TestOrderAndCapacity(t *testing.T) {
	bubble(t, "messages come in the order of Put while the ring grows and wraps", layer.Limits{Capacity: 10}, func(t *testing.T, s *testSet) {
		for _, channel := range []string{specific, normal} {
			s.put(channel, 0, 1, 2)
			s.receive(channel, 0, 1)
			s.put(channel, 3, 4, 5, 6, 7, 8, 9, 10, 11)
			require.ErrorIs(t, s.Put(channel, numbered(12)), layer.ErrChannelFull)
			require.Equal(t, 10, s.Len(channel))
			s.receive(channel, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11)
			require.Equal(t, 0, s.Len(channel))
		}
		require.Equal(t, mailbox.Stats{Accepted: 24, Received: 24}, s.Stats())
		s.wantTold()
	})
	rules := layer.Limits{Capacity: 3, CapacityRules: []layer.CapacityRule{{Pattern: "jobs*", Capacity: 1}}}
	bubble(t, "a capacity rule overrides the capacity", rules, func(t *testing.T, s *testSet) {
		s.put(normal, 1)
		require.ErrorIs(t, s.Put(normal, numbered(2)), layer.ErrChannelFull)
		s.put("other", 1, 2, 3)
		require.ErrorIs(t, s.Put("other", numbered(4)), layer.ErrChannelFull)
	})
	bubble(t, "expired messages take no room", layer.Limits{Capacity: 2, Expiry: expiry}, func(t *testing.T, s *testSet) {
		s.put(normal, 1)
		time.Sleep(expiry / 2)
		s.put(normal, 2)
		require.ErrorIs(t, s.Put(normal, numbered(3)), layer.ErrChannelFull)
		time.Sleep(expiry / 2)
		s.put(normal, 4)
		s.receive(normal, 2, 4)
	})
}

func TestExpiry(t *testing.T) {
	bubble(t, "a message is received until the nanosecond it expires", layer.Limits{Expiry: expiry}, func(t *testing.T, s *testSet) {
		time.Sleep(time.Nanosecond) // off the sweeper's beat
		s.put(normal, 1, 2)
		time.Sleep(expiry - 1)
		s.receive(normal, 1)
		time.Sleep(time.Nanosecond)
		_, err := s.Receive(soon(t), normal)
		require.ErrorIs(t, err, context.DeadlineExceeded, "2 was put %v ago", expiry)
		s.wantTold("expired jobs 1")
		require.Equal(t, mailbox.Stats{Accepted: 2, Received: 1, Dropped: layer.Drops{layer.DropExpired: 1}}, s.Stats())
	})
	bubble(t, "the age that a message came with counts", layer.Limits{Expiry: expiry}, func(t *testing.T, s *testSet) {
		require.NoError(t, s.PutAged(normal, numbered(1), expiry-2))
		require.NoError(t, s.PutAged(normal, numbered(2), expiry-1))
		require.NoError(t, s.PutAged(normal, numbered(3), -time.Hour))
		require.NoError(t, s.PutAged(normal, numbered(4), expiry))
		s.wantTold("expired jobs 1")
		time.Sleep(time.Nanosecond)
		s.receive(normal, 1, 3)
		s.wantTold("expired jobs 1")
		require.EqualValues(t, 2, s.Stats().Dropped[layer.DropExpired])
	})
	bubble(t, "the sweeper counts what nobody looks at, a second late at most", layer.Limits{Expiry: expiry}, func(t *testing.T, s *testSet) {
		s.put(normal, 1, 2, 3)
		time.Sleep(expiry - 1)
		s.wantTold()
		time.Sleep(time.Second + 1)
		s.wantTold("expired jobs 3")
		time.Sleep(3 * time.Second)
		require.False(t, s.Has(normal), "the queue of an idle normal channel still exists")
	})
	for _, tiny := range []time.Duration{1, time.Millisecond, 250 * time.Hour * 24 * 365} {
		bubble(t, "an expiry of "+tiny.String(), layer.Limits{Expiry: tiny}, func(t *testing.T, s *testSet) {
			s.put(normal, 1)
			s.receive(normal, 1)
		})
	}
}

func TestAbandonment(t *testing.T) {
	limits := layer.Limits{Expiry: expiry}
	abandoned := func(t *testing.T, s *testSet) {
		t.Helper()
		require.ErrorIs(t, s.Put(specific, numbered(9)), layer.ErrChannelGone)
		_, err := s.Receive(soon(t), specific)
		require.ErrorIs(t, err, layer.ErrChannelGone)
		require.False(t, s.Has(specific))
		require.EqualValues(t, 1, s.Stats().Abandoned)
	}
	bubble(t, "found by Put, and what is unread expires with it", limits, func(t *testing.T, s *testSet) {
		time.Sleep(time.Nanosecond)
		s.put(specific, 1)
		time.Sleep(expiry - 1)
		s.put(specific, 2)
		time.Sleep(time.Nanosecond)
		abandoned(t, s)
		s.wantTold("expired specific.abc!def 2", "abandoned specific.abc!def")
		require.NoError(t, s.Open(specific), "opening it again")
		s.put(specific, 3)
		s.receive(specific, 3)
	})
	bubble(t, "found by Receive", limits, func(t *testing.T, s *testSet) {
		time.Sleep(time.Nanosecond)
		s.put(specific, 1)
		time.Sleep(expiry)
		_, err := s.Receive(soon(t), specific)
		require.ErrorIs(t, err, layer.ErrChannelGone)
		abandoned(t, s)
	})
	bubble(t, "found by the sweeper", limits, func(t *testing.T, s *testSet) {
		s.put(specific, 1)
		time.Sleep(expiry + time.Second)
		s.wantTold("expired specific.abc!def 1", "abandoned specific.abc!def")
		abandoned(t, s)
	})
	bubble(t, "not after a Receive, however long ago the next messages were", limits, func(t *testing.T, s *testSet) {
		s.put(specific, 1, 2)
		time.Sleep(expiry - 1)
		s.receive(specific, 1)
		time.Sleep(time.Second + 1)
		s.wantTold("expired specific.abc!def 1")
		require.True(t, s.Has(specific))
		s.put(specific, 3)
		s.receive(specific, 3)
	})
	bubble(t, "not while a receiver waits, and its wait counts until it ends", limits, func(t *testing.T, s *testSet) {
		ctx, cancel := context.WithTimeout(t.Context(), 10*expiry)
		defer cancel()
		_, err := s.Receive(ctx, specific)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		s.put(specific, 1)
		time.Sleep(expiry - 1)
		require.True(t, s.Has(specific))
		time.Sleep(time.Nanosecond)
		abandoned(t, s)
	})
	bubble(t, "a Receive whose ctx is done already does not count", limits, func(t *testing.T, s *testSet) {
		done, cancel := context.WithCancel(t.Context())
		cancel()
		s.put(specific, 1)
		time.Sleep(expiry / 2)
		_, err := s.Receive(done, specific)
		require.ErrorIs(t, err, context.Canceled)
		time.Sleep(expiry / 2)
		abandoned(t, s)
	})
	bubble(t, "not by messages that were old when they came", limits, func(t *testing.T, s *testSet) {
		require.NoError(t, s.PutAged(specific, numbered(1), expiry-time.Second))
		require.NoError(t, s.PutAged(specific, numbered(2), expiry))
		time.Sleep(expiry / 2)
		require.True(t, s.Has(specific))
		s.wantTold("expired specific.abc!def 1", "expired specific.abc!def 1")
		require.NoError(t, s.PutAged(specific, numbered(3), expiry/4))
		time.Sleep(3 * expiry / 4) // now nobody has asked for longer than the third lived
		abandoned(t, s)
	})
	bubble(t, "a message's age is no silence of the receiver's", limits, func(t *testing.T, s *testSet) {
		require.NoError(t, s.PutAged(specific, numbered(1), expiry-time.Second))
		time.Sleep(expiry / 2)
		_, err := s.Receive(soon(t), specific)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.NoError(t, s.PutAged(specific, numbered(2), expiry/4))
		time.Sleep(expiry - 1)
		s.wantTold("expired specific.abc!def 1", "expired specific.abc!def 1")
		require.True(t, s.Has(specific))
		time.Sleep(time.Nanosecond)
		abandoned(t, s)
	})
	bubble(t, "never a normal channel", limits, func(t *testing.T, s *testSet) {
		s.put(normal, 1)
		time.Sleep(2 * expiry)
		s.wantTold("expired jobs 1")
		s.put(normal, 2)
		s.receive(normal, 2)
		require.Zero(t, s.Stats().Abandoned)
	})
	bubble(t, "never an idle channel", limits, func(t *testing.T, s *testSet) {
		time.Sleep(1000 * expiry)
		require.True(t, s.Has(specific))
	})
}

func TestNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSet(t, layer.Limits{})
		for _, name := range []string{"", "a b", "a!b!c", "!a", "a!", "jobs\n", "ü", strings.Repeat("x", 101)} {
			require.ErrorIs(t, s.Put(name, numbered(1)), layer.ErrInvalidName, "Put(%q)", name)
			require.ErrorIs(t, s.Put(name, numbered(1)), layer.ErrNotSent, "Put(%q)", name)
			_, err := s.Receive(soon(t), name)
			require.ErrorIs(t, err, layer.ErrInvalidName, "Receive(%q)", name)
			require.ErrorIs(t, s.Open(name), layer.ErrInvalidName, "Open(%q)", name)
			require.False(t, s.Has(name), "Has(%q)", name)
		}
		require.ErrorIs(t, s.Open(normal), layer.ErrInvalidName, "Open of a normal channel")
		require.NoError(t, s.Open(specific), "Open of an open channel")
		err := s.Put("not!open", numbered(1))
		require.Equal(t, layer.ErrChannelGone, err, "the error comes bare")
		_, err = s.Receive(soon(t), "not!open")
		require.Equal(t, layer.ErrChannelGone, err, "the error comes bare")
	})
}

func TestInvalidLimits(t *testing.T) {
	_, err := mailbox.New(mailbox.Options{Limits: layer.Limits{Capacity: -1}})
	require.ErrorIs(t, err, layer.ErrInvalidOption)
}
