package layertest_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/layer/layertest"
	"github.com/channellayer/channellayer/memlayer"
)

// The whole test of a backend that lives in memory. A backend with a broker
// leaves out the Clock, and sets Peer.
func ExampleRun() {
	// In your package this is func TestConformance(t *testing.T).
	_ = func(t *testing.T) {
		layertest.Run(t, layertest.Backend{
			New: func(tb testing.TB, c layertest.Config) layer.Layer {
				l, err := memlayer.New(memlayer.Options{Limits: c.Limits, Observer: c.Observer})
				if err != nil {
					tb.Fatal(err)
				}
				return l
			},
			Clock: layertest.Synctest(),
		})
	}
}

func ExampleBenchmark() {
	// In your package this is func BenchmarkLayer(b *testing.B).
	_ = func(b *testing.B) {
		layertest.Benchmark(b, layertest.Backend{
			New: func(tb testing.TB, c layertest.Config) layer.Layer {
				l, err := memlayer.New(memlayer.Options{Limits: c.Limits, Observer: c.Observer})
				if err != nil {
					tb.Fatal(err)
				}
				return l
			},
		})
	}
}

// A test of an application that greets whoever joins a room.
func ExampleExpect() {
	join := func(ctx context.Context, bus layer.Layer, room, channel string) error {
		if err := bus.GroupAdd(ctx, room, channel); err != nil {
			return err
		}
		return bus.GroupSend(ctx, room, layer.NewMessage(map[string]any{"type": "joined"}))
	}
	_ = func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			bus, err := memlayer.New(memlayer.Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer bus.Close()
			alice, _ := bus.NewChannel(t.Context(), "")
			bob, _ := bus.NewChannel(t.Context(), "")

			if err := join(t.Context(), bus, "lobby", alice); err != nil {
				t.Fatal(err)
			}
			if got := layertest.Expect(t, bus, alice, time.Second).Type(); got != "joined" {
				t.Errorf("alice got a message of type %q, want %q", got, "joined")
			}
			layertest.ExpectNone(t, bus, bob, time.Second)
		})
	}
}
