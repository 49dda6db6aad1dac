package main

import (
	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/memlayer"
)

// openBus makes the layer that the chat runs on. This is the only place that
// knows which: with redislayer here instead, and a flag for its address, the
// rooms span any number of servers, and nothing else changes.
func openBus() (layer.Layer, error) {
	// The default capacity lets 100 messages wait for a client. The chat's are
	// a few kilobytes at most.
	return memlayer.New(memlayer.Options{Limits: layer.Limits{MaxMessageSize: 64 << 10}})
}
