package link

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b Backoff
		took := func(ctx context.Context, wake <-chan struct{}) time.Duration {
			began := time.Now()
			b.Wait(ctx, wake)
			return time.Since(began)
		}
		for range 2 {
			for _, step := range []time.Duration{20, 40, 80, 160, 320, 500, 500} {
				step *= time.Millisecond
				waited := took(t.Context(), nil)
				require.GreaterOrEqual(t, waited, step/2)
				require.Less(t, waited, step+step/2)
			}
			b.Reset()
		}
		wake := make(chan struct{}, 1)
		wake <- struct{}{}
		require.Zero(t, took(t.Context(), wake))
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		require.Zero(t, took(ctx, wake))
	})
}
