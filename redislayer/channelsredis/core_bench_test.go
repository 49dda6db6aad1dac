package channelsredis_test

import (
	"testing"

	"github.com/channellayer/channellayer/internal/redistest"
	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/layer/layertest"
)

func BenchmarkCore(b *testing.B) {
	server := redistest.Start(b, redistest.Config{})
	backend := coreBackend(server.URL())
	makeFirst, makePeer := backend.New, backend.Peer
	roomy := func(c layertest.Config) layertest.Config {
		c.Limits.Capacity *= 100 // what waits for all channels of a process counts together
		return c
	}
	backend.New = func(tb testing.TB, c layertest.Config) layer.Layer { return makeFirst(tb, roomy(c)) }
	backend.Peer = func(tb testing.TB, c layertest.Config, first layer.Layer) layer.Layer {
		return makePeer(tb, roomy(c), first)
	}
	layertest.Benchmark(b, backend)
}
