//go:build unix

package main

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/channellayer/channellayer/examples/chat/chatserver"
	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/redislayer/channelsredis"
)

// connectTime is how long Redis may take to answer when the program starts.
const connectTime = 5 * time.Second

// openBus makes the layer that speaks to Django's. All but the servers is the
// same by default on both sides, so there is nothing to say that settings.py
// says. What is said here besides is about this process alone.
func openBus(ctx context.Context, redisURL string, log *slog.Logger) (layer.Layer, error) {
	ctx, cancel := context.WithTimeout(ctx, connectTime)
	defer cancel()
	bus, err := channelsredis.OpenCore(ctx, []string{redisURL}, channelsredis.Options{
		MaxMessageSize: 64 << 10,                     // the chat's messages have a few kilobytes at most
		OnReconnect:    chatserver.GapMessage.Type(), // who is here is asked anew then
		Logger:         log,
	})
	if err != nil {
		return nil, fmt.Errorf("-redis: %w", err)
	}
	return bus, nil
}
