package groups_test

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/channellayer/channellayer/groups"
)

// room returns a Groups whose group "room" has these members.
func room(tb testing.TB, channels ...string) *groups.Groups {
	tb.Helper()
	g := newGroups(tb, groups.Options{})
	for _, channel := range channels {
		g.Add("room", channel)
	}
	return g
}

func TestWalkVisitsNoneTwice(t *testing.T) {
	g := room(t, "a", "b", "c", "d")
	var visited []string
	for channel := range g.Members("room") {
		visited = append(visited, channel)
		g.Discard("room", channel)
		g.Add("room", channel)
	}
	require.Equal(t, []string{"a", "b", "c", "d"}, visited, "each was discarded and added again when it was visited")
	require.Equal(t, 4, g.Len("room"))
}

func TestWalkVisitsThoseWhoStay(t *testing.T) {
	channels := names("channel.%03d", 100)
	g := room(t, channels...)
	var visited []string
	for channel := range g.Members("room") {
		if len(visited) == 0 { // compacts the group, more than once
			for _, other := range channels[:97] {
				g.Discard("room", other)
			}
			require.Less(t, g.Held("room"), 50, "the group was to be compacted")
			g.Add("room", "channel.new")
		}
		visited = append(visited, channel)
	}
	require.Equal(t, []string{"channel.000", "channel.097", "channel.098", "channel.099"}, visited,
		"the others were discarded, and one was added, while the walk was at the first")
}

func TestWalkDoesNotVisitThoseWhoLeft(t *testing.T) {
	g := room(t, "a", "b", "c")
	walk := g.Members("room")
	g.Discard("room", "b")
	require.Equal(t, []string{"a", "c"}, slices.Collect(walk), "the walk begins with the loop, not with Members")
	g.Discard("room", "a")
	require.Equal(t, []string{"c"}, slices.Collect(walk), "a second loop over the same iterator is another walk")
}

func TestWalkOutlivesItsGroup(t *testing.T) {
	for name, empty := range map[string]func(*groups.Groups){
		"DiscardChannel": func(g *groups.Groups) { g.DiscardChannel("a"); g.DiscardChannel("b") },
		"Clear":          (*groups.Groups).Clear,
	} {
		t.Run(name, func(t *testing.T) {
			g := room(t, "a", "b")
			var visited []string
			for channel := range g.Members("room") {
				visited = append(visited, channel)
				empty(g)
				g.Add("room", "a")
				g.Add("room", "b")
			}
			require.Contains(t, [][]string{{"a"}, {"a", "b"}}, visited, "b left during the walk")
			require.Equal(t, []string{"a", "b"}, members(g, "room"))
		})
	}
}

func TestWalkCanBreak(t *testing.T) {
	g := room(t, "a", "b")
	for range g.Members("room") {
		break
	}
	for range g.All() {
		break
	}
	g.Add("hall", "a")
	require.Len(t, slices.Collect(g.All()), 2)
}

func TestSweepDuringWalk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGroups(t, groups.Options{Expiry: time.Minute})
		for _, channel := range names("channel.%d", 10) {
			g.Add("room", channel)
		}
		time.Sleep(time.Minute - 1)
		g.Add("room", "channel.9")
		var visited []string
		for channel := range g.Members("room") {
			visited = append(visited, channel)
			if len(visited) == 1 {
				time.Sleep(time.Nanosecond)
				g.Sweep()
				require.Equal(t, 1, g.Held("room"), "nine of ten have expired")
			}
		}
		require.Equal(t, "channel.9", visited[len(visited)-1])
		require.Len(t, slices.Compact(slices.Sorted(slices.Values(visited))), len(visited), "visited %v", visited)
	})
}

func TestAllVisitsEachGroupOnce(t *testing.T) {
	rooms := names("room.%d", 1000)
	g := newGroups(t, groups.Options{})
	for _, room := range rooms {
		g.Add(room, "stays")
	}
	var visited []string
	for room := range g.All() {
		visited = append(visited, room)
		g.Discard(room, "stays")
		g.Add(room, "stays")
		g.Add(room+".new", "stays")
	}
	visited = slices.DeleteFunc(visited, func(room string) bool { return !slices.Contains(rooms, room) })
	require.ElementsMatch(t, rooms, visited)
}

func TestWalkAllocatesNothing(t *testing.T) {
	g := room(t, names("channel.%d", 1000)...)
	n := 0
	require.Zero(t, testing.AllocsPerRun(100, func() {
		for channel := range g.Members("room") {
			n += len(channel)
		}
	}), "allocations of one walk over 1,000 members")
}

// A group that comes and goes must not keep those who left.
func TestCompaction(t *testing.T) {
	g := room(t, "stays")
	for _, channel := range names("channel.%d", 10_000) {
		g.Add("room", channel)
		g.Discard("room", channel)
		require.LessOrEqual(t, g.Held("room"), 2*g.Len("room"), "members held for one who stays")
	}
	require.Equal(t, []string{"stays"}, members(g, "room"))
}

// A membership keeps the value that it was begun with, until it ends.
func TestMembersWith(t *testing.T) {
	g := newGroups(t, groups.Options{})
	visit := func() map[string]any {
		got := map[string]any{}
		for channel, value := range g.MembersWith("room") {
			got[channel] = value
		}
		return got
	}
	require.True(t, g.AddWith("room", "a", 1), "AddWith filled the group")
	require.False(t, g.AddWith("room", "b", "two"))
	require.False(t, g.Add("room", "c"))
	require.Equal(t, map[string]any{"a": 1, "b": "two", "c": nil}, visit())

	require.False(t, g.AddWith("room", "a", 3))
	g.Add("room", "b")
	require.Equal(t, map[string]any{"a": 1, "b": "two", "c": nil}, visit(), "after they were added again")

	g.Discard("room", "a")
	g.AddWith("room", "a", 4)
	require.Equal(t, map[string]any{"a": 4, "b": "two", "c": nil}, visit(), "after a had left and joined")
	for channel := range g.MembersWith("room") {
		require.Equal(t, "b", channel, "the member that joined first")
		break
	}
}
