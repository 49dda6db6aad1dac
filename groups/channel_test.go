package groups

import (
	"runtime"
	"strconv"
	"testing"
	"weak"

	"github.com/stretchr/testify/require"

	"github.com/channellayer/channellayer/layer"
)

// A group keeps members who left until it is compacted, and a channel moves
// from one table to the other. Neither must keep anything else: here, another
// group that the channel was in.
func TestLeavingRetainsNothing(t *testing.T) {
	for name, test := range map[string]struct {
		more    int
		discard []string
	}{
		"in a list, leaving one":  {0, []string{"gone"}},
		"in a list, leaving both": {0, []string{"stays", "gone"}},
		"in a table, leaving one": {maxFew, []string{"gone"}},
	} {
		t.Run(name, func(t *testing.T) {
			g := newInternal(t)
			g.Add("gone", "channel")
			for _, channel := range []string{"channel", "x", "y", "z"} {
				g.Add("stays", channel)
			}
			for i := range test.more {
				g.Add(strconv.Itoa(i), "channel")
			}
			gone := weak.Make(g.groupShard("gone").groups.get("gone"))

			for _, group := range test.discard {
				g.Discard(group, "channel")
			}
			require.Equal(t, 4, g.Held("stays"), "one who left was to be kept for this test")
			runtime.GC()
			require.Nil(t, gone.Value(), "the empty group is retained")
			runtime.KeepAlive(g)
		})
	}
}

func TestChannelWithoutGroupsIsForgotten(t *testing.T) {
	for _, n := range []int{1, 2, maxFew, maxFew + 1, 100} {
		g := newInternal(t)
		for i := range n {
			g.Add(strconv.Itoa(i), "channel")
		}
		s := g.channelShard("channel")
		require.Equal(t, 1, s.few.len()+s.many.len(), "a channel in %d groups is in one table", n)
		require.Equal(t, n > maxFew, s.many.len() == 1, "a channel in %d groups is in the table for many", n)
		for i := range n {
			g.Discard(strconv.Itoa(i), "channel")
		}
		require.Zero(t, s.few.len()+s.many.len(), "a channel that left %d groups is in a table", n)
	}
}

// Sweep looks for expired members without a lock. One that was renewed before
// Sweep comes to discard it must stay.
func TestRenewedMemberIsSpared(t *testing.T) {
	g := newInternal(t)
	g.Add("room", "channel")
	g.Advance(layer.DefaultGroupExpiry)
	found := g.now()
	g.Add("room", "channel")
	require.False(t, g.discard("room", "channel", found))
	require.Equal(t, 1, g.Len("room"), "the member was renewed after it was found to be expired")
}

func newInternal(tb testing.TB) *Groups {
	tb.Helper()
	g, err := New(Options{})
	require.NoError(tb, err)
	return g
}
