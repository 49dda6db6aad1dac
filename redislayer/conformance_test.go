package redislayer_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/channellayer/channellayer/internal/redistest"
	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/layer/layertest"
	"github.com/channellayer/channellayer/redislayer"
)

func TestConformance(t *testing.T) {
	server := redistest.Start(t, redistest.Config{})
	one := backend(server.URL())
	one.Declared = heavyUnderRace("Load/everything_counted") // the one from a peer remains
	layertest.Run(t, one)
}

// backend makes layers on one server; each bus has a prefix of its own.
func backend(url string) layertest.Backend {
	var buses atomic.Int64
	prefixes := &prefixOf{m: map[layer.Layer]string{}}
	make := func(tb testing.TB, c layertest.Config, prefix string) layer.Layer {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		l, err := redislayer.Open(ctx, url, redislayer.Options{Limits: c.Limits, Observer: c.Observer, Prefix: prefix})
		require.NoError(tb, err)
		prefixes.set(l, prefix)
		return l
	}
	return layertest.Backend{
		New: func(tb testing.TB, c layertest.Config) layer.Layer {
			return make(tb, c, fmt.Sprintf("test.%d", buses.Add(1)))
		},
		Peer: func(tb testing.TB, c layertest.Config, first layer.Layer) layer.Layer {
			return make(tb, c, prefixes.get(first))
		},
	}
}

// heavyUnderRace declares checks that are left to runs without the race
// detector, since with it they take minutes: .ci/run has one for those of a
// single server and a Cluster, and go test ./redislayer runs them all.
func heavyUnderRace(checks ...string) (declared []layertest.Exception) {
	if !underRace {
		return nil
	}
	for _, check := range checks {
		declared = append(declared, layertest.Exception{Check: check, Reason: "under the race detector: go test ./redislayer runs it"})
	}
	return declared
}
