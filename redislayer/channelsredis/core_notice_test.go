package channelsredis_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/channellayer/channellayer/redislayer/channelsredis"
)

// After a gap every channel of the process gets the notice, also one whose
// mailbox is full; without a gap, none does.
func TestCoreNotice(t *testing.T) {
	f := newFaulty(t, func(o *channelsredis.Options) {
		o.OnReconnect, o.OnDisconnect, o.Capacity = "redis.reconnect", "redis.disconnect", 1
	})
	ctx := t.Context()
	own, full := newOwn(t, f.faulty), newOwn(t, f.faulty)
	require.NoError(t, f.faulty.GroupAdd(ctx, "g", own))
	require.NoError(t, f.faulty.Send(ctx, full, say("first")))
	silent(t, f.faulty, own)

	f.server.Kill()
	soon(t, "the layer to notice", func() bool { return f.faulty.Ping(ctx) != nil })
	f.server.RestartEmpty(t)
	require.NotEmpty(t, f.gap(t).reason)
	require.Equal(t, "redis.reconnect", next(t, f.faulty, own).Type())
	require.Equal(t, "first", next(t, f.faulty, full).String("text"))
	require.Equal(t, "redis.reconnect", next(t, f.faulty, full).Type(), "it has a place of its own in a full mailbox")

	f.settled(t)
	soon(t, "the other to recover", func() bool { return f.sound.Ping(ctx) == nil })
	require.NoError(t, f.sound.GroupSend(ctx, "g", say("after")))
	require.Equal(t, "after", next(t, f.faulty, own).String("text"), "the notice comes once a gap, when memberships are there again")
}
