package channelsredis_test

import (
	"testing"

	"github.com/channellayer/channellayer/internal/redistest"
	"github.com/channellayer/channellayer/layer/layertest"
)

func BenchmarkPubSub(b *testing.B) {
	servers := make(chan []string, 1)
	servers <- []string{redistest.Start(b, redistest.Config{}).URL()}
	layertest.Benchmark(b, pubsubBackend(servers))
}
