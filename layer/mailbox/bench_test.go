package mailbox_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/layer/mailbox"
)

// queues is what the benchmarks measure: a Set, and the least that a user could
// write instead.
type queues interface {
	Open(channel string) error
	Put(channel string, msg layer.Message) error
	Receive(ctx context.Context, channel string) (layer.Message, error)
}

// bare has no expiry, counters, release, or order among receivers, and keeps a
// full ring for every channel.
type bare struct {
	mu       sync.Mutex
	channels map[string]chan layer.Message
}

func (b *bare) Open(channel string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.channels[channel] = make(chan layer.Message, layer.DefaultCapacity)
	return nil
}

func (b *bare) Put(channel string, msg layer.Message) error {
	b.mu.Lock()
	c := b.channels[channel]
	b.mu.Unlock()
	select {
	case c <- msg:
		return nil
	default:
		return layer.ErrChannelFull
	}
}

func (b *bare) Receive(ctx context.Context, channel string) (layer.Message, error) {
	b.mu.Lock()
	c := b.channels[channel]
	b.mu.Unlock()
	select {
	case msg := <-c:
		return msg, nil
	case <-ctx.Done():
		return layer.Message{}, ctx.Err()
	}
}

// compare runs a benchmark on a Set and on the bare minimum.
func compare(b *testing.B, run func(b *testing.B, q queues)) {
	b.Run("of=set", func(b *testing.B) {
		s, err := mailbox.New(mailbox.Options{})
		require.NoError(b, err)
		defer s.Close()
		b.ReportAllocs()
		run(b, s)
	})
	b.Run("of=bare", func(b *testing.B) {
		b.ReportAllocs()
		run(b, &bare{channels: make(map[string]chan layer.Message)})
	})
}

func benchName(i int) string { return fmt.Sprintf("specific.qwertyuiopas!%022d", i) }

var benchMessage = layer.NewMessage(map[string]any{"type": "chat.message", "text": "hello"})

func BenchmarkPutReceive(b *testing.B) {
	compare(b, func(b *testing.B, q queues) {
		ctx, cancel := context.WithCancel(b.Context())
		defer cancel()
		name := benchName(0)
		require.NoError(b, q.Open(name))
		for b.Loop() {
			if err := q.Put(name, benchMessage); err != nil {
				b.Fatal(err)
			}
			if _, err := q.Receive(ctx, name); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkParallel is PutReceive by several goroutines, each on its channel.
func BenchmarkParallel(b *testing.B) {
	compare(b, func(b *testing.B, q queues) {
		var ids atomic.Int64
		for i := range 1000 {
			require.NoError(b, q.Open(benchName(i)))
		}
		b.RunParallel(func(pb *testing.PB) {
			name := benchName(int(ids.Add(1)))
			for pb.Next() {
				if err := q.Put(name, benchMessage); err != nil {
					b.Error(err)
				}
				if _, err := q.Receive(b.Context(), name); err != nil {
					b.Error(err)
				}
			}
		})
	})
}

// BenchmarkSenders has 64 goroutines put on a channel that one receives from.
// Who finds it full lets others run and tries again.
func BenchmarkSenders(b *testing.B) {
	compare(b, func(b *testing.B, q queues) {
		ctx, cancel := context.WithCancel(b.Context())
		name := benchName(0)
		require.NoError(b, q.Open(name))
		var senders sync.WaitGroup
		for range 64 {
			senders.Go(func() {
				for ctx.Err() == nil {
					if errors.Is(q.Put(name, benchMessage), layer.ErrChannelFull) {
						runtime.Gosched()
					}
				}
			})
		}
		for b.Loop() {
			if _, err := q.Receive(ctx, name); err != nil {
				b.Fatal(err)
			}
		}
		cancel()
		senders.Wait()
	})
}

// BenchmarkFanOut puts a message on the channels of receivers that each wait in
// their own goroutine. An iteration ends when all have received.
func BenchmarkFanOut(b *testing.B) {
	for _, receivers := range []int{1, 10, 100, 1000, 10_000} {
		b.Run("receivers="+strconv.Itoa(receivers), func(b *testing.B) {
			compare(b, func(b *testing.B, q queues) { fanOut(b, q, receivers) })
		})
	}
}

func fanOut(b *testing.B, q queues, receivers int) {
	ctx, cancel := context.WithCancel(b.Context())
	var running sync.WaitGroup
	var missing atomic.Int64
	all := make(chan struct{})
	names := make([]string, receivers)
	for i := range names {
		name := benchName(i)
		names[i] = name
		require.NoError(b, q.Open(name))
		running.Go(func() {
			for {
				if _, err := q.Receive(ctx, name); err != nil {
					return
				}
				if missing.Add(-1) == 0 {
					all <- struct{}{}
				}
			}
		})
	}
	for b.Loop() {
		missing.Store(int64(receivers))
		for _, name := range names {
			if err := q.Put(name, benchMessage); err != nil {
				b.Fatal(err)
			}
		}
		<-all
	}
	b.ReportMetric(float64(b.N)*float64(receivers)/b.Elapsed().Seconds(), "messages/s")
	cancel()
	running.Wait()
}
