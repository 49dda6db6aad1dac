package natslayer_test

import (
	"context"
	"fmt"
	"net"
	"os/exec"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/layer/layertest"
	"github.com/channellayer/channellayer/memlayer"
	"github.com/channellayer/channellayer/redislayer"
)

// BenchmarkLayers puts the three layers to the same work in one run:
//
//	go test -run '^$' -bench Layers -count 10 | tee layers.txt
//	benchstat -col /layer layers.txt
func BenchmarkLayers(b *testing.B) {
	b.Run("layer=memory", func(b *testing.B) {
		layertest.Benchmark(b, layertest.Backend{New: func(tb testing.TB, c layertest.Config) layer.Layer {
			l, err := memlayer.New(memlayer.Options{Limits: c.Limits, Observer: c.Observer})
			require.NoError(tb, err)
			return l
		}})
	})
	b.Run("layer=nats", func(b *testing.B) { layertest.Benchmark(b, backend(start(b).ClientURL())) })
	b.Run("layer=redis", func(b *testing.B) { layertest.Benchmark(b, redisBackend(b)) })
}

// redisBackend starts a redis-server, if there is one to start.
func redisBackend(b *testing.B) layertest.Backend {
	path, err := exec.LookPath("redis-server")
	if err != nil {
		b.Skip("NOT MEASURED: no redis-server is installed, so natslayer is compared with memlayer only")
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(b, err)
	address := free.Addr().(*net.TCPAddr)
	free.Close()
	server := exec.Command(path, "--port", fmt.Sprint(address.Port), "--bind", "127.0.0.1", "--save", "", "--dir", b.TempDir())
	require.NoError(b, server.Start())
	b.Cleanup(func() {
		server.Process.Kill()
		server.Wait()
	})
	var buses atomic.Int64
	var prefixes sync.Map
	open := func(tb testing.TB, c layertest.Config, prefix string) layer.Layer {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		l, err := redislayer.Open(ctx, "redis://"+address.String(), redislayer.Options{Limits: c.Limits, Observer: c.Observer, Prefix: prefix})
		require.NoError(tb, err)
		prefixes.Store(layer.Layer(l), prefix)
		return l
	}
	return layertest.Backend{
		New: func(tb testing.TB, c layertest.Config) layer.Layer {
			return open(tb, c, fmt.Sprint("bench.", buses.Add(1)))
		},
		Peer: func(tb testing.TB, c layertest.Config, first layer.Layer) layer.Layer {
			prefix, _ := prefixes.Load(first)
			return open(tb, c, prefix.(string))
		},
	}
}
