package groups_test

import (
	"math"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/channellayer/channellayer/groups"
	"github.com/channellayer/channellayer/layer"
)

func newGroups(tb testing.TB, options groups.Options) *groups.Groups {
	tb.Helper()
	g, err := groups.New(options)
	require.NoError(tb, err, "New(%+v)", options)
	return g
}

// members returns what one walk visits.
func members(g *groups.Groups, group string) []string {
	return slices.Collect(g.Members(group))
}

func TestNewRefusesNegativeExpiry(t *testing.T) {
	g, err := groups.New(groups.Options{Expiry: -1})
	require.ErrorIs(t, err, layer.ErrInvalidOption)
	require.ErrorContains(t, err, "Expiry")
	require.Nil(t, g)
}

func TestAddAndDiscard(t *testing.T) {
	g := newGroups(t, groups.Options{})
	require.True(t, g.Add("room", "a"), "Add to an empty group must report first")
	require.False(t, g.Add("room", "b"), "Add to a group with a member reported first")
	require.False(t, g.Add("room", "a"), "adding a member again reported first")
	require.Equal(t, []string{"a", "b"}, members(g, "room"))
	require.Equal(t, 2, g.Len("room"))

	require.False(t, g.Discard("room", "a"), "Discard with another member left reported last")
	require.Equal(t, []string{"b"}, members(g, "room"))
	require.True(t, g.Discard("room", "b"), "Discard of the only member must report last")
	require.Empty(t, members(g, "room"))
	require.False(t, g.Discard("room", "b"), "Discard of a non-member reported last")
	require.False(t, g.Discard("no such room", "b"), "Discard from an unknown group reported last")
	require.Zero(t, g.Len("room"))

	require.True(t, g.Add("room", "b"), "Add to a group that was emptied must report first")
}

func TestDiscardOfNonMemberLeavesOthers(t *testing.T) {
	g := newGroups(t, groups.Options{})
	g.Add("room", "a")
	g.Add("hall", "b")
	require.False(t, g.Discard("room", "b"))
	require.False(t, g.Discard("hall", "a"))
	require.Equal(t, []string{"a"}, members(g, "room"))
	require.Equal(t, []string{"b"}, members(g, "hall"))
}

func TestGroupsOf(t *testing.T) {
	for _, n := range []int{0, 1, 2, groups.MaxFew, groups.MaxFew + 1, 100} {
		g := newGroups(t, groups.Options{})
		rooms := names("room.%04d", n)
		for _, room := range rooms {
			g.Add(room, "a")
			g.Add(room, "b")
		}
		require.ElementsMatch(t, rooms, g.GroupsOf("a"), "after joining %d groups", n)

		// Leave in an order that takes from the list's ends and its middle.
		left := slices.Clone(rooms)
		for i := 0; len(left) > 0; i++ {
			k := i * 7 % len(left)
			require.False(t, g.Discard(left[k], "a"), "b is still in %s", left[k])
			left = slices.Delete(left, k, k+1)
			require.ElementsMatch(t, left, g.GroupsOf("a"), "of %d groups, %d are left", n, len(left))
		}
		require.ElementsMatch(t, rooms, g.GroupsOf("b"), "b must stay in all %d groups", n)
	}
}

func TestDiscardChannel(t *testing.T) {
	for _, n := range []int{0, 1, groups.MaxFew, 500} {
		g := newGroups(t, groups.Options{})
		alone, shared := names("alone.%d", n), names("shared.%d", n)
		for i := range n {
			g.Add(alone[i], "a")
			g.Add(shared[i], "a")
			g.Add(shared[i], "b")
		}
		require.ElementsMatch(t, alone, g.DiscardChannel("a"), "only the groups without b are emptied")
		require.Empty(t, g.GroupsOf("a"))
		require.ElementsMatch(t, shared, slices.Collect(g.All()))
		for _, room := range shared {
			require.Equal(t, []string{"b"}, members(g, room))
		}
		require.Empty(t, g.DiscardChannel("a"), "a second time there is nothing to empty")
	}
}

func TestExpiry(t *testing.T) {
	for _, test := range []struct {
		name    string
		options groups.Options
		expiry  time.Duration
	}{
		{"default", groups.Options{}, 24 * time.Hour},
		{"a minute", groups.Options{Expiry: time.Minute}, time.Minute},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := newGroups(t, test.options)
				g.Add("room", "stays")
				g.Add("room", "renews")
				time.Sleep(test.expiry - 1)
				require.Equal(t, []string{"stays", "renews"}, members(g, "room"), "just before the expiry")
				require.False(t, g.Add("room", "renews"))
				require.Empty(t, g.Sweep())

				time.Sleep(time.Nanosecond)
				require.Equal(t, []string{"renews"}, members(g, "room"), "at the expiry, before any sweep")
				require.Empty(t, g.GroupsOf("stays"))
				require.Equal(t, []string{"room"}, g.GroupsOf("renews"))
				require.Equal(t, 2, g.Len("room"), "an expired member counts until it is swept")
				require.Empty(t, g.Sweep(), "the group has a member left")
				require.Equal(t, 1, g.Len("room"))

				time.Sleep(test.expiry - 1)
				require.Empty(t, members(g, "room"))
				require.Equal(t, []string{"room"}, slices.Collect(g.All()), "a group is there until it is swept")
				require.Equal(t, []string{"room"}, g.Sweep())
				require.Empty(t, g.Sweep(), "a group is emptied once")
				require.Empty(t, slices.Collect(g.All()))
				require.True(t, g.Add("room", "stays"))
			})
		})
	}
}

// Being filled and being emptied must alternate also when nobody swept between.
func TestExpiredGroupIsFilledUntilSwept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGroups(t, groups.Options{Expiry: time.Minute})
		require.True(t, g.Add("room", "a"))
		time.Sleep(time.Hour)
		require.False(t, g.Add("room", "b"), "nobody was told that the group was empty")
		require.False(t, g.Add("room", "a"), "an expired member joins again")
		require.Equal(t, []string{"a", "b"}, members(g, "room"))

		time.Sleep(time.Hour)
		require.False(t, g.Discard("room", "a"))
		require.True(t, g.Discard("room", "b"), "Discard of the only member, who has expired, empties the group")
		require.Empty(t, g.Sweep(), "the group was reported empty already")

		require.True(t, g.Add("room", "c"))
		time.Sleep(time.Hour)
		require.Equal(t, []string{"room"}, g.DiscardChannel("c"), "DiscardChannel ends expired memberships too")
	})
}

func TestLongestExpiry(t *testing.T) {
	g := newGroups(t, groups.Options{Expiry: math.MaxInt64})
	g.Advance(time.Hour)
	g.Add("room", "a")
	require.Equal(t, []string{"a"}, members(g, "room"))
	require.Empty(t, g.Sweep())
	require.True(t, g.Discard("room", "a"))
}

func TestClear(t *testing.T) {
	g := newGroups(t, groups.Options{})
	for _, room := range names("room.%d", 500) {
		g.Add(room, "a")
		g.Add(room, room)
	}
	g.Clear()
	rooms, memberships := g.Count()
	require.Zero(t, rooms)
	require.Zero(t, memberships)
	require.Empty(t, g.GroupsOf("a"))
	require.Empty(t, members(g, "room.1"))
	require.Empty(t, slices.Collect(g.All()))
	require.False(t, g.Discard("room.1", "a"))
	require.True(t, g.Add("room.1", "a"))
}

func TestCount(t *testing.T) {
	f := fill(t, 3000, 1500, 100)
	rooms, memberships := f.g.Count()
	require.Equal(t, 100, rooms)
	require.Equal(t, 3000, memberships)
	require.ElementsMatch(t, f.rooms, slices.Collect(f.g.All()))
	require.Equal(t, 30, f.g.Len(f.rooms[17]))
}
