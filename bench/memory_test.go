package bench

import (
	"context"
	"fmt"
	"runtime"
	"testing"

	"github.com/channellayer/channellayer/memlayer"
)

// A million channels, each in one of 10,000 groups, then released: bytes each
// while idle, their names included, and what is left on the heap after.
func BenchmarkMillionChannels(b *testing.B) {
	const channels, groups = 1_000_000, 10_000
	ctx := context.Background()
	rooms := make([]string, groups)
	for i := range rooms {
		rooms[i] = fmt.Sprintf("room.%d", i)
	}
	for b.Loop() {
		names := make([]string, channels)
		before := heap()
		l, err := memlayer.New(memlayer.Options{})
		must(err)
		for i := range names {
			names[i], err = l.NewChannel(ctx, "")
			must(err)
		}
		idle := heap() - before
		for i, name := range names {
			must(l.GroupAdd(ctx, rooms[i%groups], name))
		}
		grouped := heap() - before
		for i, name := range names {
			must(l.Release(ctx, name))
			names[i] = ""
		}
		released := heap() - before
		runtime.KeepAlive(names)
		must(l.Close())
		b.ReportMetric(float64(idle)/channels, "B/idle-channel")
		b.ReportMetric(float64(grouped-idle)/channels, "B/membership")
		b.ReportMetric(float64(released), "B-after-release")
	}
}

// heap is the bytes of live objects.
func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
