package redislayer_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/channellayer/channellayer/redislayer"
)

// Nobody waits for a server that accepts and does not answer longer than ctx,
// whatever the timeout; and nothing is left then.
func TestOpenEndsWithContext(t *testing.T) {
	addr := silent(t)
	for _, url := range []string{"redis://" + addr, "rediss://" + addr + "?dial_timeout=20s"} {
		t.Run(url[:6], func(t *testing.T) {
			before := goleak.IgnoreCurrent()
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			began := time.Now()
			_, err := redislayer.Open(ctx, url, redislayer.Options{Timeout: 10 * time.Second})
			require.ErrorIs(t, err, context.DeadlineExceeded)
			require.Less(t, time.Since(began), time.Second, "to give up, with a ctx of 50 ms")
			goleak.VerifyNone(t, before)
		})
	}
}
