package bench

import (
	"context"
	"testing"

	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/memlayer"
)

// bus is what the benchmarks need of either side.
type bus interface {
	newChannel() string
	send(ctx context.Context, channel string, msg layer.Message) bool
	receive(ctx context.Context, channel string) (layer.Message, bool)
	groupAdd(group, channel string)
	groupSend(ctx context.Context, group string, msg layer.Message)
}

// eachBus runs a benchmark on the bare minimum and on memlayer, for
// `benchstat -col /bus`.
func eachBus(b *testing.B, run func(b *testing.B, bus bus)) {
	b.Run("bus=bare", func(b *testing.B) { run(b, newBare()) })
	b.Run("bus=memlayer", func(b *testing.B) {
		l, err := memlayer.New(memlayer.Options{})
		must(err)
		b.Cleanup(func() { must(l.Close()) })
		run(b, layered{l})
	})
}

// contexts makes the ctx of each sender and receiver.
type contexts func() context.Context

// eachCtx runs a benchmark with a ctx that cannot end, for which both sides
// receive plainly, and with one for each goroutine that can be cancelled, as a
// server has them, for which both sides select.
func eachCtx(b *testing.B, run func(b *testing.B, bus bus, ctx contexts)) {
	b.Run("ctx=background", func(b *testing.B) {
		eachBus(b, func(b *testing.B, bus bus) { run(b, bus, context.Background) })
	})
	b.Run("ctx=cancellable", func(b *testing.B) {
		eachBus(b, func(b *testing.B, bus bus) {
			run(b, bus, func() context.Context {
				ctx, cancel := context.WithCancel(context.Background())
				b.Cleanup(cancel)
				return ctx
			})
		})
	})
}

// layered is a Layer as a bus.
type layered struct{ layer layer.Layer }

func (l layered) newChannel() string {
	name, err := l.layer.NewChannel(context.Background(), "")
	must(err)
	return name
}

func (l layered) send(ctx context.Context, channel string, msg layer.Message) bool {
	return l.layer.Send(ctx, channel, msg) == nil
}

func (l layered) receive(ctx context.Context, channel string) (layer.Message, bool) {
	msg, err := l.layer.Receive(ctx, channel)
	return msg, err == nil
}

func (l layered) groupAdd(group, channel string) {
	must(l.layer.GroupAdd(context.Background(), group, channel))
}

func (l layered) groupSend(ctx context.Context, group string, msg layer.Message) {
	must(l.layer.GroupSend(ctx, group, msg))
}

var stop = layer.NewMessage(map[string]any{"type": "stop"})

func chatMessage() layer.Message {
	return layer.NewMessage(map[string]any{"type": "chat.message", "name": "Ada", "text": "hello, everyone"})
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}
