//go:build unix

package redisbench

import (
	"fmt"
	"testing"

	"github.com/channellayer/channellayer/bench/internal/workers"
	"github.com/channellayer/channellayer/internal/redistest"
	"github.com/channellayer/channellayer/layer"
)

// groupGeneration makes the window as large as a mailbox is by default.
const groupGeneration = layer.DefaultCapacity / 2

// A process sends to one group whose members are in other processes, each with
// a mailbox and a goroutine.
func BenchmarkGroupSend(b *testing.B) {
	server := redistest.Start(b, redistest.Config{})
	for _, row := range []struct{ members, receivers int }{{1, 1}, {10, 1}, {100, 1}, {1000, 1}, {1000, 4}} {
		for _, senders := range []int{1, 16} {
			name := fmt.Sprintf("members=%d/senders=%d/processes=1+%d/mailbox=yes/goroutine=yes", row.members, senders, row.receivers)
			b.Run(name, func(b *testing.B) {
				eachBus(b, func(b *testing.B, bus string) {
					f := startFleet(b, server, fleetPlan{bus: bus, receivers: row.receivers, busses: 1, capacity: 2 * groupGeneration,
						window: windowCommand{Generation: groupGeneration, Members: row.members}})
					workers.AskAll[workers.None](b, f.receivers, "join", joinCommand{Groups: 1, Members: row.members / row.receivers})
					f.run(b, sendCommand{Groups: 1, Senders: senders, For: roundTime}, "sends/s")
				}, redisLayer, goRedis, rueidisBus)
			})
		}
	}
}

// One process sends from 64 goroutines to random ones of 1,000 groups of 10.
func BenchmarkRandomGroups(b *testing.B) {
	const groups, size, senders = 1000, 10, 64
	server := redistest.Start(b, redistest.Config{})
	for _, receivers := range []int{1, 2} {
		name := fmt.Sprintf("groups=%d/members=%d/senders=%d/processes=1+%d/mailbox=yes/goroutine=yes", groups, size, senders, receivers)
		b.Run(name, func(b *testing.B) {
			eachBus(b, func(b *testing.B, bus string) {
				// The window is of all groups, so a mailbox is far from full.
				f := startFleet(b, server, fleetPlan{bus: bus, receivers: receivers, busses: 1, capacity: layer.DefaultCapacity,
					window: windowCommand{Members: groups * size, Fan: size, Ahead: 400}})
				workers.AskAll[workers.None](b, f.receivers, "join", joinCommand{Groups: groups, Members: size / receivers})
				f.run(b, sendCommand{Groups: groups, Senders: senders, For: roundTime}, "sends/s")
			}, redisLayer, goRedis, rueidisBus)
		})
	}
}

// What a group send costs Redis, by the number of processes that have a member
// in the group, beside a PUBLISH to as many subscribers. A process is here what
// it is for Redis, a layer or a subscriber; four operating system processes
// hold them. All of Redis's main thread is counted, so reading is included;
// command-µs is what the sending command, or script, alone took of it.
func BenchmarkRedisCPU(b *testing.B) {
	server := redistest.Start(b, redistest.Config{})
	for _, processes := range []int{1, 4, 16, 64, 256} {
		for _, senders := range []int{1, 16} {
			name := fmt.Sprintf("processes=%d/senders=%d/mailbox=yes/goroutine=yes", processes, senders)
			b.Run(name, func(b *testing.B) {
				if testing.Short() && processes > 16 {
					b.Skip("many processes take long to start")
				}
				eachBus(b, func(b *testing.B, bus string) { redisCPU(b, server, bus, processes, senders) }, redisLayer, goRedis)
			})
		}
	}
}

func redisCPU(b *testing.B, server *redistest.Server, bus string, processes, senders int) {
	receivers := min(processes, 4)
	f := startFleet(b, server, fleetPlan{bus: bus, receivers: receivers, busses: processes / receivers, capacity: 2 * groupGeneration,
		window: windowCommand{Generation: groupGeneration, Members: processes}})
	workers.AskAll[workers.None](b, f.receivers, "join", joinCommand{Groups: 1, Members: processes / receivers})
	f.run(b, sendCommand{Groups: 1, Senders: senders, For: roundTime / 2}, "sends/s")
}
