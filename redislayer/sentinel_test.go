package redislayer_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/channellayer/channellayer/internal/redistest"
	"github.com/channellayer/channellayer/layer/layertest"
)

func TestConformanceThroughSentinel(t *testing.T) {
	if underRace {
		t.Skip("not under the race detector: only what makes the connections differs from a single server; .ci/run runs it without")
	}
	sentinel := redistest.StartSentinel(t, redistest.SentinelConfig{})
	client := sentinel.Client(t)
	require.NoError(t, client.Ping(t.Context()).Err()) // starts what it keeps for as long as it is open
	layertest.Run(t, backendOver(client))
}
