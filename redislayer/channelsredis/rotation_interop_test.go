package channelsredis_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/channellayer/channellayer/internal/pypeer"
	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/redislayer/channelsredis"
)

// rotation is how a key is changed: every process takes one step after the other,
// and while some have taken it, others have not.
var rotation = [][]string{{"old key"}, {"old key", "new key"}, {"new key", "old key"}, {"new key"}}

// eachRotation calls test for each two steps at which processes may be at the
// same time.
func eachRotation(test func(ours, theirs int)) {
	for ours := range rotation {
		for theirs := max(0, ours-1); theirs <= min(ours+1, len(rotation)-1); theirs++ {
			test(ours, theirs)
		}
	}
}

// crossKeys sends in each direction between two layers of one step each: through a
// group and to one member. joined is called when both members are in the group.
func crossKeys(t *testing.T, ours layer.Layer, theirs *pypeer.Layer, group string, joined func(theirs string)) {
	t.Helper()
	ctx := t.Context()
	own, other := newOwn(t, ours), theirs.NewChannel()
	require.NoError(t, ours.GroupAdd(ctx, group, own))
	theirs.GroupAdd(group, other)
	joined(other)
	for n, step := range []func(int){
		func(n int) { require.NoError(t, ours.GroupSend(ctx, group, note(n))) },
		func(n int) { theirs.GroupSend(group, fromPython(n)) },
	} {
		step(n)
		require.EqualValues(t, n, next(t, ours, own).Int("n"), group)
		require.Equal(t, fromPython(n), theirs.Receive(other, patience), group)
	}
	require.NoError(t, ours.Send(ctx, other, note(2)))
	require.Equal(t, fromPython(2), theirs.Receive(other, patience), group)
	theirs.Send(own, fromPython(3))
	require.EqualValues(t, 3, next(t, ours, own).Int("n"), group)
}

// onlyNewKey sees a layer with the new key only drop and count what the old one
// encrypted, while the rest arrives.
func onlyNewKey(t *testing.T, ours layer.Layer, oldKey, newKey *pypeer.Layer) {
	t.Helper()
	own := newOwn(t, ours)
	oldKey.Send(own, fromPython(6))
	newKey.Send(own, fromPython(7))
	require.EqualValues(t, 7, next(t, ours, own).Int("n"))
	require.Equal(t, uint64(1), ours.(layer.Statser).Stats().Dropped[layer.DropUndecodable])
}

// Keys change without a moment in which a message is lost, whichever side is
// ahead; and what waits in a queue is read by who has taken the next step since.
func TestInteropCoreRotation(t *testing.T) {
	overCore(t, pypeer.Options{}, func(t *testing.T, b *coreBus) {
		if b.config.Keys == nil {
			t.Skip("there is no key to change")
		}
		b.record(t, "keys change, one process after the other", goToPython)
		b.record(t, "keys change, one process after the other", pythonToGo)
		ctx := t.Context()
		var ours []*channelsredis.Core
		var theirs []*pypeer.Layer
		for _, b.config.Keys = range rotation {
			ours = append(ours, b.open(t, channelsredis.Options{}))
			theirs = append(theirs, b.python.Core(b.config))
		}
		eachRotation(func(i, j int) {
			group := fmt.Sprintf("room-%d-%d", i, j)
			crossKeys(t, ours[i], theirs[j], group, func(string) {})
			require.NoError(t, ours[i].Send(ctx, "to-python-"+group, note(4)))
			require.Equal(t, fromPython(4), theirs[j].Receive("to-python-"+group, patience))
			theirs[j].Send("to-go-"+group, fromPython(5))
			require.EqualValues(t, 5, next(t, ours[i], "to-go-"+group).Int("n"))
		})
		for i, l := range ours {
			require.Zero(t, l.Stats().Dropped.Total(), "keys %q", rotation[i])
		}

		onlyNewKey(t, ours[3], theirs[0], theirs[3])
		// Python's receive raises there, as with Python's.
		other := theirs[3].NewChannel()
		require.NoError(t, ours[0].Send(ctx, other, note(8)))
		_, err := theirs[3].TryReceive(other, patience)
		require.True(t, pypeer.IsType(err, "InvalidToken"), "got %v", err)
		require.NoError(t, ours[3].Send(ctx, other, note(9)))
		require.Equal(t, fromPython(9), theirs[3].Receive(other, patience))
	})
}

func TestInteropPubSubRotation(t *testing.T) {
	overPubSub(t, func(t *testing.T, b *pubsubBus) {
		if b.config.Keys == nil {
			t.Skip("there is no key to change")
		}
		b.record(t, "keys change, one process after the other", goToPython)
		b.record(t, "keys change, one process after the other", pythonToGo)
		var ours []*channelsredis.PubSub
		var theirs []*pypeer.Layer
		for _, b.config.Keys = range rotation {
			ours = append(ours, b.open(t, channelsredis.Options{}))
			theirs = append(theirs, b.python.PubSub(b.config))
		}
		eachRotation(func(i, j int) {
			group := fmt.Sprintf("room-%d-%d", i, j)
			crossKeys(t, ours[i], theirs[j], group, func(other string) {
				b.subscribed(t, b.group(group), 2)
				b.subscribed(t, other, 1)
			})
		})
		for i, l := range ours {
			require.Zero(t, l.Stats().Dropped.Total(), "keys %q", rotation[i])
		}
		onlyNewKey(t, ours[3], theirs[0], theirs[3])
	})
}
