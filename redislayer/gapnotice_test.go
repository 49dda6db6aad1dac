package redislayer_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/channellayer/channellayer/internal/redistest"
	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/redislayer"
)

func TestGapMessage(t *testing.T) {
	server := redistest.Start(t, redistest.Config{})
	ctx := t.Context()
	var gaps atomic.Int64
	l := open(t, server.URL(), redislayer.Options{
		Limits:     layer.Limits{Capacity: 3},
		Observer:   layer.Observer{Gap: func(time.Time, time.Time, string) { gaps.Add(1) }},
		GapMessage: text("look again"),
		GapSpread:  100 * time.Millisecond,
	})

	const n = 50
	var full, idle []string
	waiting := make(chan string, n)
	for i := range n {
		for _, to := range []*[]string{&full, &idle} {
			channel, err := l.NewChannel(ctx, "")
			require.NoError(t, err)
			*to = append(*to, channel)
		}
		for k := range 3 {
			require.NoError(t, l.Send(ctx, full[i], text(fmt.Sprint(k))))
		}
		require.ErrorIs(t, l.Send(ctx, full[i], text("one too many")), layer.ErrChannelFull)
	}
	for _, channel := range idle[:n/2] { // with a receiver each
		go func() {
			msg, err := l.Receive(ctx, channel)
			waiting <- fmt.Sprint(msg.String("text"), err)
		}()
	}

	server.RestartEmpty(t)
	restarted := time.Now()
	for range n / 2 {
		require.Equal(t, "look again<nil>", <-waiting)
	}
	require.Less(t, time.Since(restarted), redislayer.DefaultLease/6, "until the restart was noticed: before a heartbeat finds it")
	for _, channel := range idle[n/2:] {
		require.Equal(t, "look again", receive(t, l, channel).String("text"))
	}
	for _, channel := range full {
		for _, want := range []string{"0", "1", "2", "look again"} {
			require.Equal(t, want, receive(t, l, channel).String("text"), "on a full channel")
		}
	}
	for _, channel := range append(full, idle...) {
		ctx, cancel := context.WithTimeout(ctx, time.Millisecond)
		msg, err := l.Receive(ctx, channel)
		cancel()
		require.ErrorIs(t, err, context.DeadlineExceeded, "a second notice: %v", msg)
	}
	require.EqualValues(t, 1, gaps.Load())
}
