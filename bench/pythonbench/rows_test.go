//go:build unix

package pythonbench

import (
	"fmt"
	"testing"
	"time"

	"github.com/channellayer/channellayer/bench/internal/workers"
	"github.com/channellayer/channellayer/internal/redistest"
)

const (
	core   = "core"
	pubSub = "pubsub"

	inGo     = "go"
	inPython = "python"
)

// pair says in which language the sending process is, and the receiving ones.
type pair struct{ sender, receiver string }

// pairs are in the order in which they run. The first is what the others are
// compared with.
var pairs = []pair{{inPython, inPython}, {inGo, inGo}, {inGo, inPython}, {inPython, inGo}}

func (p pair) String() string { return p.sender + "-" + p.receiver }

// row is what is measured, with each pair.
type row struct {
	layer     string
	groups    int // 0: one member is sent to by its name
	members   int // of each group
	processes int // that receive; each has its share of every group
	senders   int // goroutines or tasks in the sending process
	rate      int // above 0: latency at so many messages a second, instead of messages a second

	generation, ahead, fan int // see windowCommand

	// target is what Go with Go should reach: at least so many times the
	// rate of Python with Python, at most such a part of its latency.
	target float64
}

func (r row) String() string {
	switch {
	case r.rate > 0:
		return fmt.Sprintf("latency/rate=%d", r.rate)
	case r.groups == 0:
		return fmt.Sprintf("point/senders=%d", r.senders)
	case r.groups == 1:
		return fmt.Sprintf("group/members=%d/processes=1+%d/senders=%d", r.members, r.processes, r.senders)
	}
	return fmt.Sprintf("groups=%d/members=%d/processes=1+%d/senders=%d", r.groups, r.members, r.processes, r.senders)
}

// point is one sender, or several, to one member in another process.
func point(layer string, senders int, target float64) row {
	generation := max(50, 4*senders)
	return row{layer: layer, members: 1, processes: 1, senders: senders, generation: generation, ahead: 2 * generation, target: target}
}

func latency(layer string, target float64) row {
	return row{layer: layer, members: 1, processes: 1, rate: 200, generation: 1, ahead: 500, target: target}
}

// group is one group, to which 16 goroutines or tasks send. A large group takes
// Python long, so there are fewer messages under way.
func group(layer string, members, processes int, target float64) row {
	generation := map[int]int{10: 50, 100: 50, 1000: 10, 10000: 1}[members]
	return row{layer: layer, groups: 1, members: members, processes: processes, senders: 16, generation: generation, ahead: 2 * generation, target: target}
}

// randomGroups is 64 goroutines or tasks that send to random ones of 1,000
// groups of 10.
func randomGroups(layer string, target float64) row {
	return row{layer: layer, groups: 1000, members: 10, processes: 1, senders: 64, generation: 16, ahead: 400, fan: 10, target: target}
}

func BenchmarkCore(b *testing.B) {
	benchmark(b,
		point(core, 1, 10),
		point(core, 64, 50),
		latency(core, 0.4),
		group(core, 10, 1, 10),
		group(core, 100, 1, 20),
		group(core, 1000, 1, 40),
		group(core, 10000, 1, 100),
		group(core, 1000, 4, 15),
		randomGroups(core, 20),
	)
}

func BenchmarkPubSub(b *testing.B) {
	benchmark(b,
		point(pubSub, 1, 3),
		point(pubSub, 64, 15),
		group(pubSub, 100, 1, 6),
		group(pubSub, 1000, 1, 25),
		group(pubSub, 1000, 4, 12),
		randomGroups(pubSub, 4),
	)
}

func benchmark(b *testing.B, rows ...row) {
	needPython(b)
	server := redistest.Start(b, redistest.Config{})
	for _, r := range rows {
		b.Run(r.String(), func(b *testing.B) {
			for _, p := range pairs {
				b.Run("pair="+p.String(), func(b *testing.B) {
					if testing.Short() && r.groups > 0 && (p.receiver != p.sender || r.members == 10000) {
						b.Skip("of groups, -short has one language, and none so large that Python takes seconds for a message")
					}
					f := startFleet(b, server, r, p)
					if r.rate > 0 {
						f.measureLatency(b, r, p)
					} else {
						f.measureRate(b, r, p, server)
					}
				})
			}
		})
	}
}

// roundTime is for how long senders send in an operation. What is under way
// then is still delivered, which with Python can take longer.
const roundTime = 200 * time.Millisecond

// measureRate sends in rounds. Beside the rate it reports the CPU time that the
// sender, all receivers together and Redis spent on a message: it is steadier
// where others use the machine.
func (f *fleet) measureRate(b *testing.B, r row, p pair, server *redistest.Server) {
	c := sendCommand{Groups: r.groups, Senders: r.senders, For: time.Millisecond}
	if r.groups == 0 {
		c.Address = f.addresses[0]
	}
	workers.Ask[sendResult](b, f.sender, "send", c) // to warm up
	c.For = roundTime
	var total sendResult
	sender, receivers, redis := workers.CPU(b, f.sender), workers.CPU(b, f.receivers...), workers.RedisCPU(b, server)
	for b.Loop() {
		result := workers.Ask[sendResult](b, f.sender, "send", c)
		total.Sent += result.Sent
		total.Took += result.Took
	}
	sender, receivers, redis = workers.CPU(b, f.sender)-sender, workers.CPU(b, f.receivers...)-receivers, workers.RedisCPU(b, server)-redis
	each := func(d time.Duration) float64 { return d.Seconds() * 1e6 / float64(total.Sent) }
	rate := float64(total.Sent) / total.Took.Seconds()
	b.ReportMetric(0, "ns/op") // of a round, which has a fixed time
	b.ReportMetric(rate, "msg/s")
	b.ReportMetric(each(sender), "sender-µs")
	b.ReportMetric(each(receivers), "receivers-µs")
	b.ReportMetric(each(redis), "redis-µs")
	record(r, p, rate, each(sender+receivers+redis))
}

// measureLatency takes the time from just before a send until Receive has
// returned. An operation is a second of sends.
func (f *fleet) measureLatency(b *testing.B, r row, p pair) {
	c := pacedCommand{Address: f.addresses[0], Count: r.rate, Interval: 2 * time.Millisecond}
	round := func() []int64 {
		workers.Ask[workers.None](b, f.sender, "paced", c)
		return workers.Ask[[]int64](b, f.receivers[0], "collect", workers.None{})
	}
	round() // to warm up
	c.Interval = time.Second / time.Duration(r.rate)
	var p50, p99 float64
	for b.Loop() {
		latencies := round()
		p50 += float64(latencies[len(latencies)/2]) / 1e3
		p99 += float64(latencies[len(latencies)*99/100]) / 1e3
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(p50/float64(b.N), "p50-µs")
	b.ReportMetric(p99/float64(b.N), "p99-µs")
	record(r, p, p50/float64(b.N), 0)
}
