package natslayer_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	natslayer "github.com/channellayer/channellayer/examples/natslayer"
	"github.com/channellayer/channellayer/examples/natslayer/natstest"
	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/layer/layertest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start starts a server that ends with the test.
func start(tb testing.TB) *server.Server {
	tb.Helper()
	s, err := natstest.Start(-1)
	require.NoError(tb, err)
	tb.Cleanup(func() { stop(s) })
	return s
}

func stop(s *server.Server) {
	s.Shutdown()
	s.WaitForShutdown()
}

// open makes a layer that is closed with the test.
func open(tb testing.TB, url string, options natslayer.Options) *natslayer.Layer {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	l, err := natslayer.Open(ctx, url, options)
	require.NoError(tb, err)
	tb.Cleanup(func() { l.Close() })
	return l
}

// backend makes layers on one server; each bus has a prefix of its own.
func backend(url string) layertest.Backend {
	var buses atomic.Int64
	var prefixes sync.Map // string, by layer.Layer
	open := func(tb testing.TB, c layertest.Config, prefix string) layer.Layer {
		l := open(tb, url, natslayer.Options{Limits: c.Limits, Observer: c.Observer, Prefix: prefix})
		prefixes.Store(layer.Layer(l), prefix)
		return l
	}
	return layertest.Backend{
		New: func(tb testing.TB, c layertest.Config) layer.Layer {
			return open(tb, c, fmt.Sprint("test.", buses.Add(1)))
		},
		Peer: func(tb testing.TB, c layertest.Config, first layer.Layer) layer.Layer {
			prefix, _ := prefixes.Load(first)
			return open(tb, c, prefix.(string))
		},
		Unit:     200 * time.Millisecond, // the checks run beside a server and its clients on the same cores
		Declared: declared,
	}
}

// connectRaw makes a connection that knows nothing of layers.
func connectRaw(tb testing.TB, s *server.Server) *nats.Conn {
	tb.Helper()
	nc, err := nats.Connect(s.ClientURL())
	require.NoError(tb, err)
	tb.Cleanup(nc.Close)
	return nc
}
