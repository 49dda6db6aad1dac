package memlayer_test

import (
	"testing"

	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/layer/layertest"
	"github.com/channellayer/channellayer/memlayer"
)

func backend(clock layertest.Clock) layertest.Backend {
	return layertest.Backend{
		New: func(tb testing.TB, c layertest.Config) layer.Layer {
			l, err := memlayer.New(memlayer.Options{Limits: c.Limits, Observer: c.Observer})
			if err != nil {
				tb.Fatal(err)
			}
			return l
		},
		Clock: clock,
	}
}

func TestConformance(t *testing.T) { layertest.Run(t, backend(layertest.Synctest())) }

func BenchmarkLayer(b *testing.B) { layertest.Benchmark(b, backend(layertest.RealTime())) }
