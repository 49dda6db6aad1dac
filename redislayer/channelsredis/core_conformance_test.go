package channelsredis_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/channellayer/channellayer/internal/redistest"
	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/layer/layertest"
	"github.com/channellayer/channellayer/redislayer/channelsredis"
)

func TestCoreConformance(t *testing.T) {
	server := redistest.Start(t, redistest.Config{})
	layertest.Run(t, coreBackend(server.URL()))
}

func TestCoreConformanceTwoHosts(t *testing.T) {
	a, b := redistest.Start(t, redistest.Config{}), redistest.Start(t, redistest.Config{})
	layertest.Run(t, coreBackend(a.URL(), b.URL()))
}

// coreExceptions are in the package's documentation, too.
var coreExceptions = []layertest.Exception{
	{Check: "Rule11Close/peers_go_on", Reason: "a queue at Redis does not tell whether its process is still there, so a send to a channel of a process that ended is accepted until the queue is full"},
	{Check: "Optional/flush_from_peer", Reason: "the wire has no way to tell other processes to drop what they have in memory"},
}

// coreBackend makes layers on the servers; each bus has a prefix of its own.
func coreBackend(urls ...string) layertest.Backend {
	var buses atomic.Int64
	var prefixes sync.Map
	open := func(tb testing.TB, c layertest.Config, prefix string) layer.Layer {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		l, err := channelsredis.OpenCore(ctx, urls, channelsredis.Options{
			Prefix: prefix, Observer: c.Observer, AllowUntyped: true,
			Capacity: c.Limits.Capacity, ChannelCapacity: c.Limits.CapacityRules,
			Expiry: c.Limits.Expiry, GroupExpiry: c.Limits.GroupExpiry, MaxMessageSize: c.Limits.MaxMessageSize,
		})
		require.NoError(tb, err)
		prefixes.Store(layer.Layer(l), prefix)
		return l
	}
	return layertest.Backend{
		Declared: coreExceptions,
		New: func(tb testing.TB, c layertest.Config) layer.Layer {
			return open(tb, c, fmt.Sprintf("bus%d.", buses.Add(1)))
		},
		Peer: func(tb testing.TB, c layertest.Config, first layer.Layer) layer.Layer {
			prefix, _ := prefixes.Load(first)
			return open(tb, c, prefix.(string))
		},
	}
}
