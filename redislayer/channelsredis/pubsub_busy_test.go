package channelsredis_test

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/channellayer/channellayer/internal/redistest"
	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/redislayer/channelsredis"
)

// A server that is busy with somebody's script refuses everything for a while.
// Nothing is lost by that, and no connection.
func TestPubSubBusyServer(t *testing.T) {
	server := redistest.Start(t, redistest.Config{})
	ctx := t.Context()
	client := server.Client(t)
	require.NoError(t, client.ConfigSet(ctx, "busy-reply-threshold", "50").Err())
	var gaps gapLog
	l := openPubSub(t, []string{server.URL()}, channelsredis.Options{Timeout: 400 * time.Millisecond, Observer: gaps.observer()})
	own := newOwn(t, l)
	require.NoError(t, l.GroupAdd(ctx, "room", own))
	script := make(chan error, 1)
	go func() { // for longer than two probes are apart
		script <- client.Eval(ctx, `
			local function now() local t = redis.call('TIME') return t[1] * 1000 + t[2] / 1000 end
			local ends = now() + 3000
			while now() < ends do end
			return 1`, nil).Err()
	}()
	soon(t, "the server to be busy", func() bool {
		err := l.GroupSend(ctx, "room", note(1))
		if err == nil {
			require.EqualValues(t, 1, next(t, l, own).Int("n"))
		}
		return errors.Is(err, layer.ErrNotSent)
	})
	<-script
	soon(t, "a group send", func() bool { return l.GroupSend(ctx, "room", note(2)) == nil })
	require.EqualValues(t, 2, next(t, l, own).Int("n"))
	require.Zero(t, gaps.count(), "gaps, though no connection was lost")
}
