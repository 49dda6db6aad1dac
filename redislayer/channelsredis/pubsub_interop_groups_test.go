package channelsredis_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/channellayer/channellayer/internal/pypeer"
	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/redislayer/channelsredis"
)

func TestInteropPubSubGroups(t *testing.T) {
	overPubSub(t, func(t *testing.T, b *pubsubBus) {
		ctx := t.Context()
		for i := range 8 { // groups on either host
			group := fmt.Sprintf("room-%d", i)
			ours, theirs := newOwn(t, b.ours), b.theirs.NewChannel()
			require.NoError(t, b.ours.GroupAdd(ctx, group, ours))
			b.theirs.Send(b.group(group), fromPython(-1)) // subscribed when GroupAdd has returned
			require.EqualValues(t, -1, next(t, b.ours, ours).Int("n"))

			b.theirs.GroupAdd(group, theirs)
			b.subscribed(t, b.group(group), 2)
			both := func(n int) {
				require.Equal(t, fromPython(n), b.theirs.Receive(theirs, patience))
				require.EqualValues(t, n, next(t, b.ours, ours).Int("n"))
			}
			require.NoError(t, b.ours.GroupSend(ctx, group, note(1)))
			both(1)
			b.theirs.GroupSend(group, fromPython(2))
			both(2)

			require.NoError(t, b.ours.GroupDiscard(ctx, group, ours))
			b.theirs.GroupSend(group, fromPython(3))
			require.NoError(t, b.ours.GroupSend(ctx, group, note(4)))
			require.Equal(t, fromPython(3), b.theirs.Receive(theirs, patience))
			require.Equal(t, fromPython(4), b.theirs.Receive(theirs, patience))
			require.NoError(t, b.ours.Send(ctx, ours, note(5)))
			require.EqualValues(t, 5, next(t, b.ours, ours).Int("n"), "after the group was left")

			require.NoError(t, b.ours.GroupAdd(ctx, group, ours))
			b.theirs.GroupDiscard(group, theirs)
			b.subscribed(t, b.group(group), 1)
			require.NoError(t, b.ours.GroupSend(ctx, group, note(6)))
			require.EqualValues(t, 6, next(t, b.ours, ours).Int("n"))
			b.theirs.Send(theirs, fromPython(7))
			require.Equal(t, fromPython(7), b.theirs.Receive(theirs, patience), "after the group was left")
		}
		for _, operation := range []string{"group add", "group send", "group discard"} {
			b.record(t, operation, goToPython)
			b.record(t, operation, pythonToGo)
		}
	})
}

// Neither side can add the other's channels; both say so.
func TestInteropPubSubForeignChannels(t *testing.T) {
	overPubSub(t, func(t *testing.T, b *pubsubBus) {
		ours, theirs := newOwn(t, b.ours), b.theirs.NewChannel()
		err := b.ours.GroupAdd(t.Context(), "room", theirs)
		require.ErrorIs(t, err, layer.ErrForeignChannel)
		require.ErrorContains(t, err, theirs)
		err = b.theirs.Try("group_add", map[string]any{"group": "room", "channel": ours})
		require.True(t, pypeer.IsType(err, "RuntimeError"), "got %v", err)
	})
}

// Several processes of both languages in one group: each member hears each
// message once, whoever sends it.
func TestInteropPubSubSeveralProcesses(t *testing.T) {
	overPubSub(t, func(t *testing.T, b *pubsubBus) {
		ctx := t.Context()
		second := b.open(t, channelsredis.Options{Capacity: 1000})
		python2 := pypeer.Start(t).PubSub(b.config)
		type member struct {
			l       *channelsredis.PubSub
			channel string
		}
		var ours []member
		for _, l := range []*channelsredis.PubSub{b.ours, second} {
			for range 3 {
				channel := newOwn(t, l)
				require.NoError(t, l.GroupAdd(ctx, "room", channel))
				ours = append(ours, member{l, channel})
			}
		}
		theirs := map[*pypeer.Layer]string{b.theirs: b.theirs.NewChannel(), python2: python2.NewChannel()}
		for l, channel := range theirs {
			l.GroupAdd("room", channel)
		}
		b.subscribed(t, b.group("room"), 4)
		const each = 50
		for n := range each {
			require.NoError(t, b.ours.GroupSend(ctx, "room", note(n)))
			require.NoError(t, second.GroupSend(ctx, "room", note(each+n)))
			b.theirs.GroupSend("room", fromPython(2*each+n))
			python2.GroupSend("room", fromPython(3*each+n))
		}
		all := 4 * each
		for _, m := range ours {
			var got []int
			for range all {
				got = append(got, int(next(t, m.l, m.channel).Int("n")))
			}
			slices.Sort(got)
			requireSeries(t, got, all)
		}
		for l, channel := range theirs {
			got, err := l.ReceiveMany(channel, all, patience)
			require.NoError(t, err)
			slices.Sort(got)
			requireSeries(t, got, all)
		}
		b.record(t, "several processes of both in one group", goToPython)
		b.record(t, "several processes of both in one group", pythonToGo)
	})
}

// After a restart of Redis both sides hear again; here that is told, with a gap.
func TestInteropPubSubRestart(t *testing.T) {
	overPubSub(t, func(t *testing.T, b *pubsubBus) {
		ctx := t.Context()
		ours, theirs := newOwn(t, b.ours), b.newTheirs(t)
		require.NoError(t, b.ours.GroupAdd(ctx, "room", ours))
		b.theirs.GroupAdd("room", theirs)
		b.subscribed(t, b.group("room"), 2)
		for _, server := range b.servers {
			server.Kill()
		}
		err := b.ours.GroupSend(ctx, "room", note(0))
		require.ErrorIs(t, err, layer.ErrUnavailable)
		for _, server := range b.servers {
			server.Restart(t)
		}
		b.subscribed(t, b.group("room"), 2)
		b.subscribed(t, theirs, 1)
		soon(t, "a gap from each host", func() bool { return b.ours.Stats().Gaps >= uint64(len(b.urls)) })
		require.EqualValues(t, len(b.urls), b.ours.Stats().Gaps)

		require.NoError(t, b.ours.GroupSend(ctx, "room", note(1)))
		require.EqualValues(t, 1, next(t, b.ours, ours).Int("n"))
		require.Equal(t, fromPython(1), b.theirs.Receive(theirs, patience))
		soon(t, "a group send of Python's, whose first connection is dead", func() bool { return b.theirs.TryGroupSend("room", fromPython(2)) == nil })
		require.EqualValues(t, 2, next(t, b.ours, ours).Int("n"))
		require.Equal(t, fromPython(2), b.theirs.Receive(theirs, patience))
		b.record(t, "after a restart of Redis", goToPython)
		b.record(t, "after a restart of Redis", pythonToGo)
	})
}
