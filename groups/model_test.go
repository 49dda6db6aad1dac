package groups_test

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/channellayer/channellayer/groups"
)

// model is what a Groups has to do, done simply: for each group its members in
// order of joining, and for each of them the hours until it expires.
type model struct {
	real     *groups.Groups
	rooms    []string
	channels []string
	members  map[string][]*modelMember
	walks    []*modelWalk // under way
}

type modelMember struct {
	channel string
	hours   int
}

// modelWalk collects what a walk under way may and must visit.
type modelWalk struct {
	room string
	must []string        // members without a break since the walk began
	may  map[string]bool // members at any moment since then
}

const modelHours = 10

func TestModel(t *testing.T) {
	for _, size := range []struct{ rooms, channels int }{{3, 40}, {40, 3}, {6, 6}} {
		t.Run(fmt.Sprintf("%d groups, %d channels", size.rooms, size.channels), func(t *testing.T) {
			rapid.Check(t, func(rt *rapid.T) {
				m := &model{
					real:     newGroups(t, groups.Options{Expiry: modelHours * time.Hour}),
					rooms:    names("room.%d", size.rooms),
					channels: names("channel.%d", size.channels),
					members:  map[string][]*modelMember{},
				}
				for range rapid.IntRange(1, 100).Draw(rt, "steps") {
					m.step(rt)
				}
				m.check(rt)
			})
		})
	}
}

// step does one random thing to both, and compares what they say.
func (m *model) step(t *rapid.T) {
	room := rapid.SampledFrom(m.rooms).Draw(t, "room")
	channel := rapid.SampledFrom(m.channels).Draw(t, "channel")
	switch op := rapid.SampledFrom([]string{
		"add", "add", "add all", "join all", "discard", "discard", "discard most",
		"discard channel", "pass", "sweep", "clear", "check", "walk",
	}).Draw(t, "op"); op {
	case "add":
		m.add(t, room, channel)
	case "add all":
		for _, channel := range m.channels {
			m.add(t, room, channel)
		}
	case "join all":
		for _, room := range m.rooms {
			m.add(t, room, channel)
		}
	case "discard":
		m.discard(t, room, channel)
	case "discard most":
		for _, other := range m.channels {
			if other != channel {
				m.discard(t, room, other)
			}
		}
	case "discard channel":
		m.same(t, op+" "+channel, m.real.DiscardChannel(channel), m.remove(func(_ string, member *modelMember) bool {
			return member.channel == channel
		}))
	case "pass":
		hours := rapid.IntRange(1, modelHours).Draw(t, "hours")
		m.real.Advance(time.Duration(hours) * time.Hour)
		for _, members := range m.members {
			for _, member := range members {
				member.hours -= hours
			}
		}
	case "sweep":
		m.same(t, op, m.real.Sweep(), m.remove(func(_ string, member *modelMember) bool { return member.hours <= 0 }))
	case "clear":
		m.real.Clear()
		clear(m.members)
	case "check":
		m.check(t)
	case "walk":
		if len(m.walks) < 2 {
			m.walk(t, room)
		}
	}
	for _, w := range m.walks {
		live := m.live(w.room)
		w.must = slices.DeleteFunc(w.must, func(channel string) bool { return !slices.Contains(live, channel) })
		for _, channel := range live {
			w.may[channel] = true
		}
	}
}

func (m *model) add(t *rapid.T, room, channel string) {
	want := len(m.members[room]) == 0
	i := slices.IndexFunc(m.members[room], func(member *modelMember) bool { return member.channel == channel })
	if i >= 0 {
		m.members[room][i].hours = modelHours
	} else {
		m.members[room] = append(m.members[room], &modelMember{channel, modelHours})
	}
	if got := m.real.Add(room, channel); got != want {
		t.Fatalf("Add(%s, %s) reported first = %v, want %v", room, channel, got, want)
	}
}

func (m *model) discard(t *rapid.T, room, channel string) {
	want := len(m.remove(func(r string, member *modelMember) bool { return r == room && member.channel == channel })) == 1
	if got := m.real.Discard(room, channel); got != want {
		t.Fatalf("Discard(%s, %s) reported last = %v, want %v", room, channel, got, want)
	}
	// Whoever left may have joined again before the next step ends.
	for _, w := range m.walks {
		if w.room == room {
			w.must = slices.DeleteFunc(w.must, func(c string) bool { return c == channel })
		}
	}
}

// remove ends the memberships that match and returns the groups it emptied.
func (m *model) remove(match func(room string, member *modelMember) bool) (emptied []string) {
	for room, members := range maps.Clone(m.members) {
		left := slices.DeleteFunc(members, func(member *modelMember) bool { return match(room, member) })
		m.members[room] = left
		if len(left) == 0 {
			emptied = append(emptied, room)
			delete(m.members, room)
		}
	}
	return emptied
}

// live returns the members that have not expired.
func (m *model) live(room string) []string {
	var live []string
	for _, member := range m.members[room] {
		if member.hours > 0 {
			live = append(live, member.channel)
		}
	}
	return live
}

// walk walks over the group and does random things meanwhile.
func (m *model) walk(t *rapid.T, room string) {
	w := &modelWalk{room: room, must: m.live(room), may: map[string]bool{}}
	for _, channel := range w.must {
		w.may[channel] = true
	}
	m.walks = append(m.walks, w)
	var visited []string
	for channel := range m.real.Members(room) {
		visited = append(visited, channel)
		if !w.may[channel] {
			t.Fatalf("the walk over %s visited %s, who was not a member since it began", room, channel)
		}
		if rapid.IntRange(0, 3).Draw(t, "meanwhile") == 0 {
			m.step(t)
		}
	}
	m.walks = m.walks[:len(m.walks)-1]
	for _, channel := range visited {
		if n := count(visited, channel); n != 1 {
			t.Fatalf("the walk over %s visited %s %d times: %v", room, channel, n, visited)
		}
	}
	for _, channel := range w.must {
		if !slices.Contains(visited, channel) {
			t.Fatalf("the walk over %s did not visit %s, who was a member all the time: %v", room, channel, visited)
		}
	}
}

// check compares all that both know.
func (m *model) check(t *rapid.T) {
	memberships := 0
	for _, room := range m.rooms {
		memberships += len(m.members[room])
		if got, want := slices.Collect(m.real.Members(room)), m.live(room); !slices.Equal(got, want) {
			t.Fatalf("Members(%s) visited %v, want %v", room, got, want)
		}
		if got, want := m.real.Len(room), len(m.members[room]); got != want {
			t.Fatalf("Len(%s) = %d, want %d", room, got, want)
		}
		if held, size := m.real.Held(room), m.real.Len(room); held > 2*size {
			t.Fatalf("%s holds %d members for %d who did not leave", room, held, size)
		}
	}
	m.same(t, "All", slices.Collect(m.real.All()), slices.Collect(maps.Keys(m.members)))
	if rooms, n := m.real.Count(); rooms != len(m.members) || n != memberships {
		t.Fatalf("Count() = %d groups, %d memberships, want %d, %d", rooms, n, len(m.members), memberships)
	}
	for _, channel := range m.channels {
		var want []string
		for room := range m.members {
			if slices.Contains(m.live(room), channel) {
				want = append(want, room)
			}
		}
		for _, room := range m.rooms {
			if got, want := m.real.Has(room, channel), slices.Contains(want, room); got != want {
				t.Fatalf("Has(%s, %s) = %v, want %v", room, channel, got, want)
			}
		}
		m.same(t, "GroupsOf "+channel, m.real.GroupsOf(channel), want)
	}
}

// same compares two sets of names.
func (m *model) same(t *rapid.T, what string, got, want []string) {
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Fatalf("%s gave %v, want %v", what, got, want)
	}
}

func count(names []string, name string) (n int) {
	for _, other := range names {
		if other == name {
			n++
		}
	}
	return n
}
