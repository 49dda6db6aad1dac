package redistest

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// final is an error after which it makes no sense to wait any longer.
type final struct{ error }

func (f final) Unwrap() error { return f.error }

// await asks again and again, until condition returns nil, a final error, or
// ctx or readyTimeout ends; then the last answer is part of the error.
func await(ctx context.Context, condition func(context.Context) error) error {
	return awaitEvery(ctx, 5*time.Millisecond, condition)
}

// awaitEvery is await with another time between two questions. What has to be
// asked of all nodes of a cluster would otherwise take a core from them.
func awaitEvery(ctx context.Context, interval time.Duration, condition func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		err := condition(ctx)
		if err == nil || errors.As(err, &final{}) {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w; last seen: %w", ctx.Err(), err)
		case <-ticker.C:
		}
	}
}
