//go:build unix

package redisbench

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/channellayer/channellayer/internal/redistest"
	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/memlayer"
	"github.com/channellayer/channellayer/redislayer"
)

const memLayer = "memlayer"

func openOne(b *testing.B, server *redistest.Server, bus string) layer.Layer {
	b.Helper()
	var l layer.Layer
	var err error
	if bus == memLayer {
		l, err = memlayer.New(memlayer.Options{})
	} else {
		l, err = redislayer.Open(b.Context(), "redis://"+server.Addr(), redislayer.Options{Prefix: "bench" + strconv.FormatInt(time.Now().UnixNano(), 36)})
	}
	check(b, err)
	b.Cleanup(func() { check(b, l.Close()) })
	return l
}

// Sending and receiving within a process. With one sender it is one goroutine
// that does both in turn; 64 senders send as fast as one goroutine receives,
// and yield where the channel is full.
func BenchmarkSameProcess(b *testing.B) {
	const messages = 200_000 // in an operation
	server := redistest.Start(b, redistest.Config{})
	for _, senders := range []int{1, 64} {
		b.Run(fmt.Sprintf("senders=%d/processes=1/mailbox=yes/goroutine=yes", senders), func(b *testing.B) {
			eachBus(b, func(b *testing.B, bus string) {
				l := openOne(b, server, bus)
				channel, err := l.NewChannel(b.Context(), "")
				check(b, err)
				sendReceive := sendAndReceive
				if senders > 1 {
					sendReceive = sendFromMany
				}
				sendReceive(b, l, channel, senders, messages/10) // to warm up
				for b.Loop() {
					sendReceive(b, l, channel, senders, messages)
				}
				b.ReportMetric(0, "ns/op")
				b.ReportMetric(float64(messages*b.N)/b.Elapsed().Seconds(), "msg/s")
			}, redisLayer, memLayer)
		})
	}
}

func sendAndReceive(b *testing.B, l layer.Layer, channel string, _, messages int) {
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	msg := newMessage(time.Now().UnixNano())
	for range messages {
		if err := l.Send(ctx, channel, msg); err != nil {
			b.Fatal(err) // check calls b.Helper, which takes longer than all of this
		}
		if _, err := l.Receive(ctx, channel); err != nil {
			b.Fatal(err)
		}
	}
}

func sendFromMany(b *testing.B, l layer.Layer, channel string, senders, messages int) {
	var left atomic.Int64
	left.Store(int64(messages))
	var sending sync.WaitGroup
	for range senders {
		sending.Go(func() {
			ctx, cancel := context.WithCancel(b.Context())
			defer cancel()
			msg := newMessage(time.Now().UnixNano())
			for left.Add(-1) >= 0 {
				for l.Send(ctx, channel, msg) != nil {
					runtime.Gosched()
				}
			}
		})
	}
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	for range messages {
		if _, err := l.Receive(ctx, channel); err != nil {
			b.Fatal(err)
		}
	}
	sending.Wait()
}

// GroupAdd and GroupDiscard. member=further: the process has other members in
// the group, and Redis need not know. member=only: it is the first member that
// joins and the last that leaves, each of which Redis has to be told;
// round-trips/change is below 1 where changes leave together.
func BenchmarkMembership(b *testing.B) {
	server := redistest.Start(b, redistest.Config{})
	for _, row := range []struct {
		member     string
		goroutines int
		changes    int // in an operation, of each goroutine
	}{{"further", 1, 200_000}, {"further", 64, 3_000}, {"only", 1, 2_000}, {"only", 64, 400}} {
		name := fmt.Sprintf("member=%s/goroutines=%d/processes=1/bus=%s", row.member, row.goroutines, redisLayer)
		b.Run(name, func(b *testing.B) { changeMembership(b, server, row.member == "further", row.goroutines, row.changes) })
	}
}

func changeMembership(b *testing.B, server *redistest.Server, further bool, goroutines, changes int) {
	l := openOne(b, server, redisLayer)
	groups := make([]string, goroutines)
	channels := make([]string, goroutines)
	for i := range groups {
		groups[i] = groupName(i)
		var err error
		channels[i], err = l.NewChannel(b.Context(), "")
		check(b, err)
		if further {
			other, err := l.NewChannel(b.Context(), "")
			check(b, err)
			check(b, l.GroupAdd(b.Context(), groups[i], other))
		}
	}
	round := func(changes int) {
		errs := make([]error, goroutines)
		var changing sync.WaitGroup
		for i := range groups {
			changing.Go(func() {
				ctx, cancel := context.WithCancel(b.Context())
				defer cancel()
				for range changes / 2 {
					errs[i] = errors.Join(errs[i], l.GroupAdd(ctx, groups[i], channels[i]), l.GroupDiscard(ctx, groups[i], channels[i]))
				}
			})
		}
		changing.Wait()
		check(b, errors.Join(errs...))
	}
	round(changes / 10) // to warm up
	used := readUsage(b, server)
	before := reads(b, server)
	asking := reads(b, server) - before // is what it takes to read the number
	for b.Loop() {
		round(changes)
	}
	read := reads(b, server) - before - 2*asking
	n := float64(b.N * goroutines * changes)
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(n/b.Elapsed().Seconds(), "changes/s")
	b.ReportMetric(max(0, read)/n, "round-trips/change")
	written := readUsage(b, server).since(used)
	writes := written.commands["zadd"].calls + written.commands["zrem"].calls + written.commands["evalsha"].calls
	if further && writes > 2 { // a heartbeat writes some groups again
		b.Fatalf("Redis was told of %d changes of %v", writes, n)
	}
}

// reads is how often Redis has read from a connection: once a round trip, if
// it is small.
func reads(b *testing.B, server *redistest.Server) float64 {
	b.Helper()
	n, err := strconv.ParseFloat(server.Info(b, "stats")["total_reads_processed"], 64)
	check(b, err)
	return n
}
