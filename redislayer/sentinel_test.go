package redislayer_test

import (
	"testing"

	"github.com/channellayer/channellayer/internal/redistest"
	"github.com/channellayer/channellayer/layer/layertest"
)

func TestConformanceThroughSentinel(t *testing.T) {
	sentinel := redistest.StartSentinel(t, redistest.SentinelConfig{})
	layertest.Run(t, backendOver(sentinel.Client(t)))
}
