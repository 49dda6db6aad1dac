package main

import (
	"log/slog"

	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/memlayer"
)

// openBus makes the layer that the chat runs on. This is the only place that
// knows which: with redislayer here instead, and a flag for its address, the
// rooms span any number of servers, and nothing else changes.
func openBus(log *slog.Logger) (layer.Layer, error) {
	return memlayer.New(memlayer.Options{
		// The capacity is what may wait for one client: at most 100 messages of
		// some kilobytes. What a slow one loses is reported here.
		Limits: layer.Limits{MaxMessageSize: 64 << 10},
		Observer: layer.Observer{
			Dropped: func(reason layer.DropReason, channel string, count int) {
				log.Debug("dropped", "reason", reason, "channel", channel, "count", count)
			},
		},
	})
}
