package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/channellayer/channellayer/examples/chat/chatserver"
	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/memlayer"
	"github.com/channellayer/channellayer/redislayer"
)

// connectTime is how long Redis may take to answer when the program starts.
// Once it runs, it waits for a Redis that went away as long as need be.
const connectTime = 5 * time.Second

// openBus makes the layer that the chat runs on, with several servers on one
// Redis, or within this process if there is no URL. This is the only place that
// knows which.
func openBus(ctx context.Context, url string, log *slog.Logger) (layer.Layer, error) {
	// The default capacity lets 100 messages wait for a client. The chat's are
	// a few kilobytes at most.
	limits := layer.Limits{MaxMessageSize: 64 << 10}
	if url == "" {
		return memlayer.New(memlayer.Options{Limits: limits})
	}
	ctx, cancel := context.WithTimeout(ctx, connectTime)
	defer cancel()
	bus, err := redislayer.Open(ctx, url, redislayer.Options{
		Limits:     limits,
		GapMessage: chatserver.GapMessage,
		Logger:     log,
	})
	if errors.Is(err, context.DeadlineExceeded) {
		return nil, fmt.Errorf("-redis: not connected within %v: %w", connectTime, err)
	}
	if err != nil {
		return nil, fmt.Errorf("-redis: %w", err)
	}
	return bus, nil
}
