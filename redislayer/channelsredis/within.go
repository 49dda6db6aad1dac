package channelsredis

import (
	"context"
	"errors"
	"time"

	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/redislayer/channelsredis/internal/redisconn"
	"github.com/channellayer/channellayer/redislayer/internal/caller"
)

// within bounds a call that makes several round trips, each of which has a
// timeout of its own, by one timeout. That the timeout was what ended the call is
// no error of the caller's ctx, and what is known of the outcome stays known.
func within(ctx context.Context, timeout time.Duration, call func(context.Context) error) error {
	limited, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	err := call(limited)
	if limited.Err() == nil || ctx.Err() != nil || !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	late := redisconn.Unavailable(caller.ErrTimeout)
	switch {
	case errors.Is(err, layer.ErrMaybeSent):
		return layer.MaybeSent(late)
	case errors.Is(err, layer.ErrNotSent):
		return layer.NotSent(late)
	}
	return late
}
