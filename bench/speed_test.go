package bench

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
)

// One goroutine sends a message and receives it.
func BenchmarkSendReceive(b *testing.B) {
	eachCtx(b, func(b *testing.B, bus bus, ctx contexts) {
		channel, msg, own := bus.newChannel(), chatMessage(), ctx()
		b.ReportAllocs()
		for b.Loop() {
			bus.send(own, channel, msg)
			bus.receive(own, channel)
		}
	})
}

// 64 goroutines send to one channel as fast as they can, and yield where it is
// full; one goroutine receives. An operation is a message received.
func BenchmarkSend64(b *testing.B) {
	eachCtx(b, func(b *testing.B, bus bus, ctx contexts) {
		channel, msg := bus.newChannel(), chatMessage()
		var (
			done    atomic.Bool
			senders sync.WaitGroup
		)
		for range 64 {
			own := ctx()
			senders.Go(func() {
				for !done.Load() {
					if !bus.send(own, channel, msg) {
						runtime.Gosched()
					}
				}
			})
		}
		own := ctx()
		b.ReportAllocs()
		for b.Loop() {
			bus.receive(own, channel)
		}
		done.Store(true)
		senders.Wait()
	})
}

// A group's members receive in a goroutine each. round is how many sends go
// out before the sender waits for every member to have them all: with 1 all
// members sleep when a message comes, with 50 those that are behind need no
// waking. An operation is a group send.
func BenchmarkGroupSend(b *testing.B) {
	for _, members := range []int{1, 10, 100, 1_000, 10_000} {
		for _, round := range []int{1, 50} {
			b.Run(fmt.Sprintf("members=%d/round=%d", members, round), func(b *testing.B) {
				eachCtx(b, func(b *testing.B, bus bus, ctx contexts) { fanOut(b, bus, ctx, members, round) })
			})
		}
	}
}

func fanOut(b *testing.B, bus bus, ctx contexts, members, round int) {
	var got, running sync.WaitGroup
	for range members {
		channel, own := bus.newChannel(), ctx()
		bus.groupAdd("room", channel)
		running.Go(func() {
			for n := 0; ; {
				msg, ok := bus.receive(own, channel)
				if !ok || msg == stop {
					return
				}
				if n++; n == round {
					n = 0
					got.Done()
				}
			}
		})
	}
	msg, own := chatMessage(), ctx()
	sent := 0
	b.ReportAllocs()
	for b.Loop() {
		if sent == 0 {
			got.Add(members)
		}
		bus.groupSend(own, "room", msg)
		if sent++; sent == round {
			sent = 0
			got.Wait()
		}
	}
	b.ReportMetric(float64(members)*float64(b.N)/b.Elapsed().Seconds(), "deliveries/s")
	bus.groupSend(own, "room", stop)
	running.Wait()
}

// 1,000 groups of 10, sends to random ones from all cores (see -cpu). The
// members' messages are taken in passing, by whoever sends, so that it is the
// sends that are measured.
func BenchmarkRandomGroups(b *testing.B) {
	const groups, size = 1_000, 10
	eachCtx(b, func(b *testing.B, bus bus, ctx contexts) {
		var names [groups]string
		var channels [groups][size]string
		for g := range groups {
			names[g] = fmt.Sprintf("room.%d", g)
			for m := range size {
				channels[g][m] = bus.newChannel()
				bus.groupAdd(names[g], channels[g][m])
			}
		}
		var waiting [groups]atomic.Int32
		msg := chatMessage()
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			own := ctx()
			for pb.Next() {
				g := rand.IntN(groups)
				bus.groupSend(own, names[g], msg)
				// Every 64th send to a group, whoever makes it empties its
				// members; capacity is 100.
				if waiting[g].Add(1) == 64 {
					for _, channel := range channels[g] {
						for range 64 {
							bus.receive(own, channel)
						}
					}
					waiting[g].Add(-64)
				}
			}
		})
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "sends/s")
	})
}
