package channelsredis

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/channellayer/channellayer/internal/redistest"
	"github.com/channellayer/channellayer/layer"
)

// A membership that begins while the layer closes is ended by Close: however late
// GroupAdd goes on, Close waits for it, and no other begins.
func TestCoreCloseEndsMembershipsThatBegin(t *testing.T) {
	server := redistest.Start(t, redistest.Config{})
	ctx := t.Context()
	c, err := OpenCore(ctx, []string{server.URL()}, Options{})
	require.NoError(t, err)
	channel, err := c.NewChannel(ctx, "")
	require.NoError(t, err)

	require.NoError(t, c.beginMembership(ctx, "room", channel)) // GroupAdd, as far as that
	closed := make(chan error, 1)
	go func() { closed <- c.Close() }()
	for c.leaving.TryRLock() { // until Close waits
		c.leaving.RUnlock()
	}
	require.ErrorIs(t, c.GroupAdd(ctx, "room", channel), layer.ErrClosed)
	require.ErrorIs(t, c.GroupDiscard(ctx, "room", channel), layer.ErrClosed)
	c.remember("room", channel)
	require.NoError(t, c.hosts[0].do(ctx, &op{what: opAdd, key: c.groupKey("room"), name: channel}))
	c.leaving.RUnlock()

	require.NoError(t, <-closed)
	require.Empty(t, server.Client(t).ZRange(ctx, "asgi:group:room", 0, -1).Val(), "members after Close")
}
