package groups_test

import (
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"

	"github.com/channellayer/channellayer/groups"
)

// names returns n names that share their bytes with nothing.
func names(format string, n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprintf(format, i)
	}
	return all
}

// BenchmarkAdd adds new memberships: a channel each, 100 to a group. The
// Groups are emptied, off the clock, each time there are a million.
func BenchmarkAdd(b *testing.B) {
	const total = 1_000_000
	channels, rooms := names("specific.abcdef!%08d", total), names("room.%d", total/100)
	g, i := newGroups(b, groups.Options{}), 0
	b.ReportAllocs()
	for b.Loop() {
		if i == total {
			b.StopTimer()
			g.Clear()
			i = 0
			b.StartTimer()
		}
		g.Add(rooms[i%len(rooms)], channels[i])
		i++
	}
	perSecond(b, 1)
}

// BenchmarkRenew adds members again.
func BenchmarkRenew(b *testing.B) {
	for _, per := range []int{1, 16, 1000} {
		b.Run(fmt.Sprintf("groupsPerChannel=%d", per), func(b *testing.B) {
			f := fill(b, 100_000, 100_000/per, 1000)
			i := 0
			b.ReportAllocs()
			for b.Loop() {
				f.each(i%f.total, func(group, channel string) { f.g.Add(group, channel) })
				i++
			}
			perSecond(b, 1)
		})
	}
}

// BenchmarkDiscardAdd ends a membership among 100,000 and makes it again.
func BenchmarkDiscardAdd(b *testing.B) {
	for _, per := range []int{1, 16, 1000} {
		b.Run(fmt.Sprintf("groupsPerChannel=%d", per), func(b *testing.B) {
			f := fill(b, 100_000, 100_000/per, 1000)
			i := 0
			b.ReportAllocs()
			for b.Loop() {
				f.each(i%f.total, func(group, channel string) {
					f.g.Discard(group, channel)
					f.g.Add(group, channel)
				})
				i++
			}
			perSecond(b, 2)
		})
	}
}

func BenchmarkDiscardAddParallel(b *testing.B) {
	f := fill(b, 100_000, 100_000, 1000)
	var worker atomic.Int64
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		i := int(worker.Add(1)) * 7919
		for pb.Next() {
			f.each(i%f.total, func(group, channel string) {
				f.g.Discard(group, channel)
				f.g.Add(group, channel)
			})
			i++
		}
	})
	perSecond(b, 2)
}

// BenchmarkConnection is a channel that joins 3 groups and leaves them all.
func BenchmarkConnection(b *testing.B) {
	g := newGroups(b, groups.Options{})
	channels, rooms := names("specific.abcdef!%08d", 100_000), names("room.%d", 1000)
	i := 0
	b.ReportAllocs()
	for b.Loop() {
		channel := channels[i%len(channels)]
		for k := range 3 {
			g.Add(rooms[(i+k*331)%len(rooms)], channel)
		}
		g.DiscardChannel(channel)
		i++
	}
}

var visited int // keeps the compiler from dropping the walks

func BenchmarkWalk(b *testing.B) {
	for _, size := range []int{1, 10, 100, 1000, 10_000} {
		b.Run(fmt.Sprintf("members=%d", size), func(b *testing.B) {
			g := newGroups(b, groups.Options{})
			for _, channel := range names("specific.abcdef!%08d", size) {
				g.Add("room", channel)
			}
			b.ReportAllocs()
			for b.Loop() {
				for channel := range g.Members("room") {
					visited += len(channel)
				}
			}
			perMember(b, size)
		})
	}
}

// BenchmarkWalkSlice is what BenchmarkWalk is to be compared with.
func BenchmarkWalkSlice(b *testing.B) {
	for _, size := range []int{1, 10, 100, 1000, 10_000} {
		b.Run(fmt.Sprintf("members=%d", size), func(b *testing.B) {
			type record struct {
				channel string
				_       int64
			}
			records := make([]*record, size)
			for i, channel := range names("specific.abcdef!%08d", size) {
				records[i] = &record{channel: channel}
			}
			b.ReportAllocs()
			for b.Loop() {
				for _, r := range records {
					visited += len(r.channel)
				}
			}
			perMember(b, size)
		})
	}
}

// BenchmarkWalkParallel walks over 1,000 groups of 100 members in turn.
func BenchmarkWalkParallel(b *testing.B) {
	f := fill(b, 100_000, 100_000, 1000)
	var worker atomic.Int64
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		i, n := int(worker.Add(1))*331, 0
		for pb.Next() {
			for channel := range f.g.Members(f.rooms[i%len(f.rooms)]) {
				n += len(channel)
			}
			i++
		}
		runtime.KeepAlive(n)
	})
	perMember(b, 100)
}

// BenchmarkSweep looks at 1,000,000 memberships of which none has expired.
func BenchmarkSweep(b *testing.B) {
	f := fill(b, 1_000_000, 1_000_000, 10_000)
	for b.Loop() {
		if emptied := f.g.Sweep(); emptied != nil {
			b.Fatalf("Sweep emptied %d groups that have not expired", len(emptied))
		}
	}
	perMember(b, f.total)
}

// BenchmarkMemory reports what a membership costs, without the bytes of the
// names, and what of it is retained after the memberships have ended.
func BenchmarkMemory(b *testing.B) {
	for _, shape := range shapes {
		b.Run(shape.name, func(b *testing.B) {
			var m memory
			for b.Loop() {
				m = measure(b, shape, (*filled).discardAll)
			}
			b.ReportMetric(m.perMembership, "B/membership")
			b.ReportMetric(float64(m.retained), "B-retained")
		})
	}
}

func perSecond(b *testing.B, ops int) {
	b.ReportMetric(float64(ops*b.N)/b.Elapsed().Seconds(), "ops/s")
}

func perMember(b *testing.B, members int) {
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*members), "ns/member")
}
