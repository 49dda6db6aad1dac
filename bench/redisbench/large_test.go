//go:build unix

package redisbench

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/channellayer/channellayer/bench/internal/workers"
	"github.com/channellayer/channellayer/internal/redistest"
)

// One group of a million members in four processes: how long from the beginning
// of a group send until the last member has received, what they hold in memory,
// and what the send costs Redis. Members have a mailbox each, and no goroutine:
// four goroutines in each process go from one to the next.
func BenchmarkMillionMembers(b *testing.B) {
	const receivers, sends = 4, 3
	members := inShort(1_000_000)
	server := redistest.Start(b, redistest.Config{})
	b.Run(fmt.Sprintf("members=%d/senders=1/processes=1+4/mailbox=yes/goroutine=no/bus=%s", members, redisLayer), func(b *testing.B) {
		f := startFleet(b, server, fleetPlan{bus: redisLayer, receivers: receivers, busses: 1, capacity: 100})
		held := workers.AskAll[held](b, f.receivers, "crowd", members/receivers)
		announce := func() time.Duration {
			var ends []int64
			failed := make(chan error, 1)
			go func() {
				var err error
				ends, err = workers.TryAskAll[int64](f.receivers, "one", workers.None{})
				failed <- err
			}()
			began := workers.Ask[int64](b, f.sender, "announce", workers.None{})
			check(b, <-failed)
			return time.Duration(slices.Max(ends) - began)
		}
		announce() // to warm up
		var took time.Duration
		before := readUsage(b, server)
		for b.Loop() {
			for range sends {
				took += announce()
			}
		}
		used := readUsage(b, server).since(before)
		f.check(b)
		var bytes, rss int64
		for _, h := range held {
			bytes += h.MembershipBytes
			rss += h.Resident
		}
		n := float64(b.N * sends)
		b.ReportMetric(0, "ns/op")
		b.ReportMetric(took.Seconds()*1e3/n, "last-ms")
		b.ReportMetric(float64(used.cpu)/1e3/n, "redis-µs")
		b.ReportMetric(float64(bytes)/float64(members), "B/member") // channel, name and membership
		b.ReportMetric(float64(rss)/(1<<20), "resident-MiB")
	})
}

// A million memberships in 10,000 groups: what each holds in the process, what
// a group costs Redis, and how long it takes until all are registered again
// after Redis has lost everything.
func BenchmarkMemberships(b *testing.B) {
	channels, groups := inShort(1_000_000), inShort(10_000)
	b.Run(fmt.Sprintf("memberships=%d/groups=%d/processes=1/mailbox=yes/goroutine=no/bus=%s", channels, groups, redisLayer), func(b *testing.B) {
		for b.Loop() {
			server := redistest.Start(b, redistest.Config{})
			p := workers.Start(b)
			workers.Ask[held](b, p, "hold", holdCommand{Addr: server.Addr(), Prefix: "warm-up", Channels: 1, Groups: 1})
			memory := usedMemory(b, server)
			h := workers.Ask[held](b, p, "hold", holdCommand{Addr: server.Addr(), Prefix: "bench", Channels: channels, Groups: groups})
			memory = usedMemory(b, server) - memory

			server.RestartEmpty(b)
			up := time.Now().UnixNano()
			g := workers.Ask[gap](b, p, "await gap", workers.None{})
			if n := registered(b, server, "bench:group:*"); n != groups {
				b.Fatalf("when the gap (%s) was reported, %d of %d groups were registered", g.Reason, n, groups)
			}
			p.Stop()
			server.Kill()
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(float64(h.ChannelBytes)/float64(channels), "B/channel")
			b.ReportMetric(float64(h.MembershipBytes)/float64(channels), "B/membership")
			b.ReportMetric(float64(memory)/float64(groups), "redis-B/group")
			b.ReportMetric(float64(channels)/h.Took.Seconds(), "adds/s")
			b.ReportMetric(float64(g.At-up)/1e6, "registered-again-ms")
		}
	})
}

// inShort is a number, or a tenth of it with -short.
func inShort(n int) int {
	if testing.Short() {
		return n / 10
	}
	return n
}

func usedMemory(b *testing.B, server *redistest.Server) int64 {
	b.Helper()
	n, err := strconv.ParseInt(server.Info(b, "memory")["used_memory"], 10, 64)
	check(b, err)
	return n
}

// registered counts keys.
func registered(b *testing.B, server *redistest.Server, pattern string) (n int) {
	b.Helper()
	keys := server.Client(b).Scan(context.Background(), 0, pattern, 10_000).Iterator()
	for keys.Next(context.Background()) {
		n++
	}
	check(b, keys.Err())
	return n
}
