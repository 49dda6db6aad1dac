package groups

import (
	"slices"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

// A group is compacted while others go on with it. This plays what can happen
// between the look at the members and their replacement.
func TestMeanwhileOfCompaction(t *testing.T) {
	for name, test := range map[string]struct {
		meanwhile func(*Groups)
		want      []string
	}{
		"nothing":   {func(*Groups) {}, []string{"6", "7", "8", "9"}},
		"some join": {func(g *Groups) { g.Add("room", "a"); g.Add("room", "b") }, []string{"6", "7", "8", "9", "a", "b"}},
		"most leave": {func(g *Groups) {
			g.Discard("room", "6")
			g.Discard("room", "7")
			g.Discard("room", "8")
		}, []string{"9"}},
		"all leave": {func(g *Groups) {
			for _, channel := range []string{"6", "7", "8", "9"} {
				g.Discard("room", channel)
			}
		}, nil},
		"all leave and some join": {func(g *Groups) {
			for _, channel := range []string{"6", "7", "8", "9"} {
				g.Discard("room", channel)
			}
			g.Add("room", "6")
		}, []string{"6"}},
		"one leaves and joins": {func(g *Groups) { g.Discard("room", "7"); g.Add("room", "7") }, []string{"6", "8", "9", "7"}},
	} {
		t.Run(name, func(t *testing.T) {
			g := newInternal(t)
			for i := range 10 {
				g.Add("room", strconv.Itoa(i))
			}
			s := g.groupShard("room")
			gr := s.groups.get("room")
			gr.compacting = true // it is us who compact
			for i := range 6 {
				g.Discard("room", strconv.Itoa(i))
			}

			before := gr.members
			kept := remaining(before)
			test.meanwhile(g)
			s.compact(gr, s.replace(gr, before, kept))

			require.False(t, gr.compacting, "the next one has to be able to compact")
			require.Equal(t, test.want, slices.Collect(g.Members("room")))
			require.LessOrEqual(t, g.Held("room"), 2*len(test.want), "members held for %d", len(test.want))
		})
	}
}
