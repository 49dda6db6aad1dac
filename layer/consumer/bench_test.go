package consumer_test

import (
	"context"
	"testing"

	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/layer/consumer"
)

// The benchmarks of this file send a message and take it again, one at a time,
// so that what they need beyond BenchmarkLayer is what this package costs. A
// handler sends the next message to the channel it came from.

func BenchmarkLayer(b *testing.B) {
	r := newRound(b)
	channel, err := r.layer.NewChannel(r.ctx, "")
	r.begin(channel, err)
	for r.ctx.Err() == nil {
		msg, err := r.layer.Receive(r.ctx, channel)
		if err != nil {
			b.Fatal(err)
		}
		r.handle(r.ctx, msg)
	}
}

func BenchmarkConsumerReceive(b *testing.B) {
	r := newRound(b)
	c := open(b, r.layer, consumer.Options{})
	r.begin(c.Channel(), nil)
	for r.ctx.Err() == nil {
		msg, err := c.Receive(r.ctx)
		if err != nil {
			b.Fatal(err)
		}
		r.handle(r.ctx, msg)
	}
}

func BenchmarkConsumerRun(b *testing.B) {
	r := newRound(b)
	c := open(b, r.layer, consumer.Options{Handlers: map[string]consumer.Handler{"x": r.handle}})
	r.begin(c.Channel(), nil)
	if err := c.Run(r.ctx); err != nil {
		b.Fatal(err)
	}
}

// A worker's receiver and handler are two goroutines.
func BenchmarkWorkerRun(b *testing.B) {
	r := newRound(b)
	w := newWorker(b, r.layer, consumer.WorkerOptions{Channels: []string{"a"}, Handlers: map[string]consumer.Handler{"x": r.handle}})
	r.begin("a", nil)
	if err := w.Run(r.ctx); err != nil {
		b.Fatal(err)
	}
}

// round is a message that goes round until the benchmark has enough.
type round struct {
	b     *testing.B
	layer layer.Layer
	ctx   context.Context
	stop  context.CancelFunc
	to    string
}

func newRound(b *testing.B) *round {
	r := &round{b: b, layer: newLayer(b, layer.Limits{})}
	r.ctx, r.stop = context.WithCancel(context.Background())
	b.Cleanup(r.stop)
	b.ReportAllocs()
	return r
}

func (r *round) begin(channel string, err error) {
	if err != nil {
		r.b.Fatal(err)
	}
	r.to = channel
	send(r.b, r.layer, channel, "x", 1)
}

func (r *round) handle(ctx context.Context, msg layer.Message) error {
	if !r.b.Loop() {
		r.stop()
		return nil
	}
	return r.layer.Send(ctx, r.to, msg)
}
