package channelsredis_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/channellayer/channellayer/internal/pypeer"
	"github.com/channellayer/channellayer/redislayer/channelsredis"
)

// What Go and Python send in turn, each after the other's call has returned, comes
// in that order, to either language and on a normal channel. (What a process sends
// to its own channels is not by way of Redis.)
func TestInteropCoreInTurn(t *testing.T) {
	const count = 100
	overCore(t, pypeer.Options{Capacity: 2 * count}, func(t *testing.T, b *coreBus) {
		if b.option == twoHosts {
			t.Skip("Python's sends go by way of another host")
		}
		ctx := t.Context()
		reader := b.open(t, channelsredis.Options{})
		ours, theirs := newOwn(t, reader), b.theirs.NewChannel()
		for _, channel := range []string{ours, theirs, "work"} {
			for n := range count {
				if n%2 == 0 {
					require.NoError(t, b.go1.Send(ctx, channel, note(n)))
				} else {
					b.theirs.Send(channel, fromPython(n))
				}
			}
		}
		got, err := b.theirs.ReceiveMany(theirs, count, patience)
		require.NoError(t, err)
		requireSeries(t, got, count)
		for n := range count {
			require.EqualValues(t, n, next(t, reader, ours).Int("n"))
			require.EqualValues(t, n, next(t, reader, "work").Int("n"), "on a normal channel")
		}
	})
}

func TestInteropPubSubInTurn(t *testing.T) {
	const count = 100
	overPubSub(t, func(t *testing.T, b *pubsubBus) {
		ctx := t.Context()
		ours, theirs := newOwn(t, b.ours), b.newTheirs(t)
		require.NoError(t, b.ours.GroupAdd(ctx, "room", ours))
		b.theirs.GroupAdd("room", theirs)
		b.subscribed(t, b.group("room"), 2)
		for n := range count {
			if n%2 == 0 {
				require.NoError(t, b.ours.GroupSend(ctx, "room", note(n)))
			} else {
				b.theirs.GroupSend("room", fromPython(n))
			}
		}
		got, err := b.theirs.ReceiveMany(theirs, count, patience)
		require.NoError(t, err)
		requireSeries(t, got, count)
		for n := range count {
			require.EqualValues(t, n, next(t, b.ours, ours).Int("n"))
		}
	})
}
