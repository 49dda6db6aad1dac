package channelsredis_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/channellayer/channellayer/internal/redistest"
	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/redislayer/channelsredis"
)

// What holds on two hosts of the conformance checks that are declared for the
// order or the capacity of normal channels.
func TestCoreTwoHosts(t *testing.T) {
	ctx := t.Context()
	urls := []string{redistest.Start(t, redistest.Config{}).URL(), redistest.Start(t, redistest.Config{}).URL()}
	const capacity = 4
	open := func() *channelsredis.Core {
		c, err := channelsredis.OpenCore(ctx, urls, channelsredis.Options{Capacity: capacity})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, c.Close()) })
		return c
	}
	reader, writer := open(), open()
	ended, end := context.WithCancel(ctx)
	end()
	for channel, room := range map[string]int{newOwn(t, reader): capacity, "jobs": capacity * len(urls)} {
		for round := range 10 { // beginning at either host
			for n := range room {
				require.NoError(t, writer.Send(ctx, channel, note(n)), channel)
			}
			_, err := reader.Receive(ended, channel)
			require.ErrorIs(t, err, context.Canceled, "an ended ctx comes first")
			some, cancel := context.WithTimeout(ctx, time.Duration(round)*100*time.Microsecond)
			seen := map[int64]int{}
			for len(seen) < room {
				if msg, err := reader.Receive(some, channel); err == nil {
					seen[msg.Int("n")]++
					continue
				}
				seen[next(t, reader, channel).Int("n")]++
			}
			cancel()
			for n := range room {
				require.Equal(t, 1, seen[int64(n)], "message %d on %s", n, channel)
			}
		}
		silent(t, reader, channel)
	}

	for range capacity * len(urls) {
		require.NoError(t, writer.Send(ctx, "full", note(1)))
	}
	for range urls {
		err := writer.Send(ctx, "full", note(1))
		require.ErrorIs(t, err, layer.ErrChannelFull)
		require.ErrorIs(t, err, layer.ErrNotSent)
		require.NotErrorIs(t, err, layer.ErrMaybeSent)
	}
	require.ErrorIs(t, writer.Send(ended, "full", note(1)), layer.ErrNotSent)
	require.ErrorIs(t, writer.GroupSend(ended, "g", note(1)), layer.ErrNotSent)
}
