package groups_test

import (
	"runtime"
	"testing"

	"github.com/channellayer/channellayer/groups"
	"github.com/channellayer/channellayer/layer"
)

// filled is a Groups with total memberships, spread evenly over channels and
// rooms.
type filled struct {
	g               *groups.Groups
	channels, rooms []string
	total           int
}

func fill(tb testing.TB, total, channels, rooms int) *filled {
	f := &filled{
		channels: names("specific.abcdef!%08d", channels),
		rooms:    names("room.%d", rooms),
		total:    total,
	}
	f.fill(tb)
	return f
}

func (f *filled) fill(tb testing.TB) {
	tb.Helper()
	f.g = newGroups(tb, groups.Options{})
	for i := range f.total {
		f.each(i, func(group, channel string) { f.g.Add(group, channel) })
	}
	if _, got := f.g.Count(); got != f.total {
		tb.Fatalf("made %d memberships, Count says %d", f.total, got)
	}
}

// each calls do with the names of the i-th membership.
func (f *filled) each(i int, do func(group, channel string)) {
	channel, round := i%len(f.channels), i/len(f.channels)
	apart := max(1, len(f.rooms)/len(f.channels))
	do(f.rooms[(channel*apart+round)%len(f.rooms)], f.channels[channel])
}

func (f *filled) discardAll() {
	for i := range f.total {
		f.each(i, func(group, channel string) { f.g.Discard(group, channel) })
	}
}

func (f *filled) discardChannels() {
	for _, channel := range f.channels {
		f.g.DiscardChannel(channel)
	}
}

func (f *filled) sweep() {
	f.g.Advance(layer.DefaultGroupExpiry)
	f.g.Sweep()
}

// shape is a way of spreading memberships.
type shape struct {
	name                   string
	total, channels, rooms int
}

var shapes = []shape{
	{"1 group each, 100 members", 1_000_000, 1_000_000, 10_000},
	{"10 groups each, 100 members", 1_000_000, 100_000, 10_000},
	{"1000 groups each, 100 members", 1_000_000, 1_000, 10_000},
	{"1 group each, 1 member", 1_000_000, 1_000_000, 1_000_000},
	{"1 channel in all groups", 1_000_000, 1, 1_000_000},
	{"1 group of all channels", 1_000_000, 1_000_000, 1},
}

// TestMemory states what memberships may cost, and that their end gives it
// back, whichever way they end. BenchmarkMemory measures more of them.
func TestMemory(t *testing.T) {
	shape := shape{"1 group each, 100 members", 100_000, 100_000, 1000}
	for name, empty := range map[string]func(*filled){
		"Discard":        (*filled).discardAll,
		"DiscardChannel": (*filled).discardChannels,
		"Sweep":          (*filled).sweep,
		"Clear":          func(f *filled) { f.g.Clear() },
	} {
		t.Run(name, func(t *testing.T) {
			m := measure(t, shape, empty)
			t.Logf("%d memberships: %.1f bytes each, %d bytes retained", shape.total, m.perMembership, m.retained)
			if m.perMembership > maxPerMembership {
				t.Errorf("%d memberships took %.1f bytes each, want at most %d", shape.total, m.perMembership, maxPerMembership)
			}
			if m.retained > maxRetained {
				t.Errorf("after %d memberships had ended, %d bytes were retained, want at most %d", shape.total, m.retained, maxRetained)
			}
		})
	}
}

const (
	maxPerMembership = 150
	maxRetained      = 512 << 10 // of more than 10 MB
)

type memory struct {
	perMembership float64 // bytes
	retained      int64   // bytes, after the memberships have ended
}

// measure fills a Groups, empties it, and says what the heap held. The names
// are made before, so their bytes do not count.
func measure(tb testing.TB, shape shape, empty func(*filled)) memory {
	tb.Helper()
	f := &filled{
		channels: names("specific.abcdef!%08d", shape.channels),
		rooms:    names("room.%d", shape.rooms),
		total:    shape.total,
	}
	before := heap()
	f.fill(tb)
	full := heap()
	empty(f)
	if rooms, memberships := f.g.Count(); rooms != 0 || memberships != 0 {
		tb.Fatalf("%s: after all memberships ended, Count says %d groups with %d memberships, want none", shape.name, rooms, memberships)
	}
	after := heap()
	runtime.KeepAlive(f)
	return memory{
		perMembership: float64(full-before) / float64(shape.total),
		retained:      after - before,
	}
}

// heap returns the bytes of live objects.
func heap() int64 {
	runtime.GC()
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc)
}
