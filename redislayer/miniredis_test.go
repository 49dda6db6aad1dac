package redislayer_test

import (
	"testing"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/channellayer/channellayer/layer/layertest"
)

// Applications may be tested on miniredis. What it does not have the layer
// needs only after faults: INFO's section "server" (a restart is then found out
// with the next heartbeat) and XSETID (a server that was set back). Its TTLs do
// not run by themselves: a process that died keeps its inbox.
func TestConformanceOnMiniredis(t *testing.T) {
	server := miniredis.RunT(t)
	client := redis.NewClient(&redis.Options{Addr: server.Addr()})
	defer client.Close()
	backend := backendOver(client)
	backend.Declared = append(heavyUnderRace("Model/*"), layertest.Exception{
		Check:  "Load/*",
		Reason: "miniredis interprets scripts in Go: 100,000 sends take it minutes",
	})
	layertest.Run(t, backend)
}
