package hublayer

import (
	"testing"

	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/layer/layertest"
)

// TestConformance runs the whole suite. Time is virtual, since all of this
// backend is in memory; leave Clock out for one that talks to a network.
func TestConformance(t *testing.T) {
	layertest.Run(t, layertest.Backend{
		New: func(tb testing.TB, c layertest.Config) layer.Layer {
			hub, err := NewHub(c.Limits, c.Observer)
			if err != nil {
				tb.Fatal(err)
			}
			tb.Cleanup(hub.Close)
			return join(tb, hub, c)
		},
		Peer: func(tb testing.TB, c layertest.Config, first layer.Layer) layer.Layer {
			return join(tb, first.(*Layer).hub, c)
		},
		Clock: layertest.Synctest(),
	})
}

func join(tb testing.TB, hub *Hub, c layertest.Config) layer.Layer {
	l, err := hub.Join(c.Limits, c.Observer)
	if err != nil {
		tb.Fatal(err)
	}
	return l
}
