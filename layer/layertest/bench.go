package layertest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/channellayer/channellayer/layer"
)

// Benchmark measures a backend on the same work as all others, as
// sub-benchmarks. Each reports what it did per second: msgs/s (sent and
// received) or deliveries/s (messages that members received). Those that send
// to a group have every member received in a goroutine of its own, and wait
// for the members, so that nothing is dropped.
//
// The work is done in real time; Backend.Clock is not used.
func Benchmark(b *testing.B, backend Backend) {
	b.Run("send_receive", func(b *testing.B) { benchSendReceive(b, newBench(b, backend, false)) })
	b.Run("senders_64", func(b *testing.B) { benchSenders(b, newBench(b, backend, false), 64) })
	for _, members := range []int{1, 10, 100, 1000, 10_000} {
		b.Run(fmt.Sprintf("group_send_%d", members), func(b *testing.B) { benchGroup(b, newBench(b, backend, false), members) })
	}
	b.Run("groups_1000_of_10", func(b *testing.B) { benchManyGroups(b, newBench(b, backend, false), 1000, 10) })
	if backend.Peer == nil {
		return
	}
	b.Run("peer_send_receive", func(b *testing.B) { benchSendReceive(b, newBench(b, backend, true)) })
	b.Run("peer_senders_64", func(b *testing.B) { benchSenders(b, newBench(b, backend, true), 64) })
	for _, members := range []int{1, 100, 1000} {
		b.Run(fmt.Sprintf("peer_group_send_%d", members), func(b *testing.B) { benchGroup(b, newBench(b, backend, true), members) })
	}
}

// benchCapacity is how far a sender may be ahead of a receiver.
const benchCapacity = 256

// bench is the layers of one benchmark: the same one twice, or two processes.
type bench struct {
	b              *testing.B
	ctx            context.Context
	reader, writer layer.Layer
	receivers      sync.WaitGroup
	stop           context.CancelFunc
}

func newBench(b *testing.B, backend Backend, peer bool) *bench {
	config := Config{Limits: layer.Limits{Capacity: benchCapacity}}
	r := &bench{b: b}
	r.ctx, r.stop = context.WithCancel(context.Background())
	r.reader = backend.New(b, config)
	r.writer = r.reader
	if peer {
		r.writer = backend.Peer(b, config, r.reader)
	}
	b.Cleanup(func() {
		r.stop()
		r.receivers.Wait()
		for _, l := range []layer.Layer{r.writer, r.reader} {
			if err := l.Close(); err != nil {
				b.Errorf("Close returned error %v", err)
			}
		}
	})
	return r
}

func (r *bench) newChannel() string {
	ch, err := r.reader.NewChannel(r.ctx, "")
	r.must(err)
	return ch
}

// must ends the benchmark on an error. It is for its own goroutine.
func (r *bench) must(err error) {
	r.b.Helper()
	if err != nil {
		r.b.Fatal(err)
	}
}

// receive receives on the channel in a goroutine of its own, and calls got for
// each message.
func (r *bench) receive(channel string, got func()) {
	r.receivers.Go(func() {
		// A ctx of its own, as a connection would have.
		ctx, cancel := context.WithCancel(r.ctx)
		defer cancel()
		for {
			_, err := r.reader.Receive(ctx, channel)
			if err != nil {
				if !errors.Is(err, context.Canceled) {
					r.b.Errorf("Receive returned error %v", err)
				}
				return
			}
			got()
		}
	})
}

// sendMessage is what benchmarks send: an event of a chat, of about 80 bytes.
var sendMessage = layer.NewMessage(map[string]any{
	"type": "chat.message", "room": "lobby", "user": int64(4711), "text": "hello, everybody out there",
})

func (r *bench) report(n int, unit string) {
	r.b.ReportMetric(float64(n)/r.b.Elapsed().Seconds(), unit)
}

// benchSendReceive sends one message at a time and receives it.
func benchSendReceive(b *testing.B, r *bench) {
	ch := r.newChannel()
	n := 0
	for b.Loop() {
		r.must(r.writer.Send(r.ctx, ch, sendMessage))
		_, err := r.reader.Receive(r.ctx, ch)
		r.must(err)
		n++
	}
	r.report(n, "msgs/s")
}

// benchSenders has each of the senders write to a channel of its own, as far
// ahead of its receiver as half the capacity.
func benchSenders(b *testing.B, r *bench, senders int) {
	type lane struct {
		channel string
		room    chan struct{}
	}
	each := (senders + runtime.GOMAXPROCS(0) - 1) / runtime.GOMAXPROCS(0)
	senders = each * runtime.GOMAXPROCS(0)
	lanes := make(chan lane, senders)
	for range senders {
		l := lane{r.newChannel(), make(chan struct{}, benchCapacity/2)}
		for range cap(l.room) {
			l.room <- struct{}{}
		}
		r.receive(l.channel, func() { l.room <- struct{}{} })
		lanes <- l
	}
	var sent atomic.Int64
	b.SetParallelism(each)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		l := <-lanes
		n := 0
		for pb.Next() {
			<-l.room
			if err := r.writer.Send(r.ctx, l.channel, sendMessage); err != nil {
				b.Errorf("Send returned error %v", err)
				return
			}
			n++
		}
		for range cap(l.room) { // until all is received
			<-l.room
		}
		sent.Add(int64(n))
	})
	r.report(int(sent.Load()), "msgs/s")
}

// benchGroup sends to one group, and waits for all members each time it is half
// the capacity ahead.
func benchGroup(b *testing.B, r *bench, members int) {
	const ahead = benchCapacity / 2
	var received atomic.Int64
	wake := make(chan struct{}, 1)
	for range members {
		ch := r.newChannel()
		r.must(r.reader.GroupAdd(r.ctx, "room", ch))
		r.receive(ch, func() {
			if n := received.Add(1); n%int64(members) == 0 {
				select {
				case wake <- struct{}{}:
				default:
				}
			}
		})
	}
	sent := int64(0)
	await := func() {
		for received.Load() < sent*int64(members) {
			<-wake
		}
	}
	for b.Loop() {
		r.must(r.writer.GroupSend(r.ctx, "room", sendMessage))
		if sent++; sent%ahead == 0 {
			await()
		}
	}
	await()
	r.report(int(sent)*members, "deliveries/s")
}

// benchManyGroups sends to random groups from all cores. What is under way to
// one group is bounded, so that no member's channel is full even if one of them
// holds all of it.
func benchManyGroups(b *testing.B, r *bench, groups, size int) {
	type room struct {
		name string
		mu   sync.Mutex    // a sender takes all it needs of free, or waits with it
		free chan struct{} // a place for each delivery
	}
	rooms := make([]*room, groups)
	for g := range groups {
		rm := &room{name: fmt.Sprint("room", g), free: make(chan struct{}, benchCapacity/2)}
		for range cap(rm.free) {
			rm.free <- struct{}{}
		}
		for range size {
			ch := r.newChannel()
			r.must(r.reader.GroupAdd(r.ctx, rm.name, ch))
			r.receive(ch, func() { rm.free <- struct{}{} })
		}
		rooms[g] = rm
	}
	var sent atomic.Int64
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		n := 0
		for pb.Next() {
			rm := rooms[rand.IntN(groups)]
			rm.mu.Lock()
			for range size {
				<-rm.free
			}
			rm.mu.Unlock()
			if err := r.writer.GroupSend(r.ctx, rm.name, sendMessage); err != nil {
				b.Errorf("GroupSend returned error %v", err)
				return
			}
			n++
		}
		sent.Add(int64(n))
	})
	for _, rm := range rooms {
		for range cap(rm.free) { // until all is received
			<-rm.free
		}
	}
	r.report(int(sent.Load())*size, "deliveries/s")
}
