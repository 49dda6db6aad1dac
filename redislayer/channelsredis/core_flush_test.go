package channelsredis_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/channellayer/channellayer/internal/redistest"
	"github.com/channellayer/channellayer/redislayer/channelsredis"
)

// Flush deletes every key that begins with the prefix, whatever it holds, as
// Python's does.
func TestCoreFlushKeysOfOtherTypes(t *testing.T) {
	server := redistest.Start(t, redistest.Config{})
	client, ctx := server.Client(t), t.Context()
	c := openOne(t, server, channelsredis.Options{})
	require.NoError(t, c.Send(ctx, "jobs", note(1)))
	require.NoError(t, c.GroupAdd(ctx, "g", newOwn(t, c)))
	require.NoError(t, client.Set(ctx, "asgi_lock", "x", 0).Err())
	require.NoError(t, client.RPush(ctx, "asgi_list", "x").Err())
	require.NoError(t, client.Set(ctx, "asgi:group:x", "x", 0).Err())
	require.NoError(t, client.Set(ctx, "other", "x", 0).Err())
	require.NoError(t, c.Flush(ctx))
	require.Equal(t, []string{"other"}, client.Keys(ctx, "*").Val())
}
