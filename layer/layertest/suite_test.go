package layertest

import (
	"testing"

	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/memlayer"
)

// memory is the layer against which the suite itself is tested.
func memory() Backend {
	return Backend{
		New: func(tb testing.TB, config Config) layer.Layer {
			l, err := memlayer.New(memlayer.Options{Limits: config.Limits, Observer: config.Observer})
			if err != nil {
				tb.Fatal(err)
			}
			return l
		},
		Clock: Synctest(),
	}
}

func TestMemlayerPasses(t *testing.T) { Run(t, memory()) }

// The suite in real time, with a layer that could do without.
func TestRealTimePasses(t *testing.T) {
	if testing.Short() {
		t.Skip("takes long")
	}
	backend := memory()
	backend.Clock = RealTime()
	Run(t, backend)
}
