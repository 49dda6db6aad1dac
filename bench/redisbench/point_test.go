//go:build unix

package redisbench

import (
	"fmt"
	"testing"
	"time"

	"github.com/channellayer/channellayer/bench/internal/workers"
	"github.com/channellayer/channellayer/internal/redistest"
)

// One process sends from several goroutines to one member in another. The
// mailbox and the member's goroutine are included on every side.
func BenchmarkPointToPoint(b *testing.B) {
	server := redistest.Start(b, redistest.Config{})
	for _, senders := range []int{1, 64, 512} {
		generation := max(256, 16*senders) // half of the window
		b.Run(fmt.Sprintf("senders=%d/processes=2/mailbox=yes/goroutine=yes", senders), func(b *testing.B) {
			eachBus(b, func(b *testing.B, bus string) {
				f := startFleet(b, server, fleetPlan{bus: bus, receivers: 1, busses: 1, capacity: 2 * generation,
					window: windowCommand{Generation: generation, Members: 1}})
				to := workers.Ask[[]string](b, f.receivers[0], "join", joinCommand{Members: 1})
				f.run(b, sendCommand{Address: to[0], Senders: senders, For: roundTime}, "msg/s")
			}, redisLayer, goRedis, rueidisBus)
		})
	}
}

// The time from Send to Receive, at 200 messages a second from one goroutine.
// An operation is as many as are sent in a second.
func BenchmarkLatency(b *testing.B) {
	const rate = 200
	server := redistest.Start(b, redistest.Config{})
	b.Run("rate=200/senders=1/processes=2/mailbox=yes/goroutine=yes", func(b *testing.B) {
		eachBus(b, func(b *testing.B, bus string) {
			f := startFleet(b, server, fleetPlan{bus: bus, receivers: 1, busses: 1, capacity: 1000,
				window: windowCommand{Generation: 1, Members: 1}})
			to := workers.Ask[[]string](b, f.receivers[0], "join", joinCommand{Members: 1, Stamped: rate})
			paced := pacedCommand{Address: to[0], Count: rate, Interval: time.Millisecond}
			workers.Ask[workers.None](b, f.sender, "paced", paced) // to warm up
			workers.Ask[[]int64](b, f.receivers[0], "latencies", workers.None{})
			paced.Interval = time.Second / rate
			var p50, p99 float64
			for b.Loop() {
				workers.Ask[workers.None](b, f.sender, "paced", paced)
				latencies := workers.Ask[[]int64](b, f.receivers[0], "latencies", workers.None{})
				p50 += float64(latencies[rate/2])
				p99 += float64(latencies[rate*99/100])
			}
			f.check(b)
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(p50/1e3/float64(b.N), "p50-µs")
			b.ReportMetric(p99/1e3/float64(b.N), "p99-µs")
		}, redisLayer, goRedis, rueidisBus)
	})
}
