package channelsredis_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/channellayer/channellayer/internal/redistest"
	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/redislayer/channelsredis"
)

// fillMemory fills a server up to its maxmemory, and returns what makes room
// again.
func fillMemory(t *testing.T, client *redis.Client) (free func()) {
	t.Helper()
	ctx := t.Context()
	require.NoError(t, client.ConfigSet(ctx, "maxmemory", "1").Err())
	require.ErrorContains(t, client.Set(ctx, "more", "x", 0).Err(), "OOM")
	return func() { require.NoError(t, client.ConfigSet(ctx, "maxmemory", "0").Err()) }
}

// What a server refuses for want of memory was not done, and says so: nothing is
// half written. What needs none works on: receiving, leaving groups, closing. When
// there is room again all is as before.
func TestCoreOutOfMemory(t *testing.T) {
	f := newFaulty(t, nil)
	ctx := t.Context()
	theirs, own := newOwn(t, f.sound), newOwn(t, f.faulty)
	for _, size := range []int{2, 120} {
		group := fmt.Sprint("g", size)
		for _, channel := range []string{theirs, "jobs"} {
			require.NoError(t, f.faulty.GroupAdd(ctx, group, channel))
		}
		for range size - 2 {
			require.NoError(t, f.sound.GroupAdd(ctx, group, newOwn(t, f.sound)))
		}
		require.NoError(t, f.faulty.GroupSend(ctx, group, say("before")))
		require.Equal(t, "before", next(t, f.sound, theirs).String("text"))
	}
	require.NoError(t, f.faulty.Send(ctx, "waiting", say("before")))
	before := contents(t, f.client)

	free := fillMemory(t, f.client)
	refused := map[string]func() error{
		"Send":                    func() error { return f.faulty.Send(ctx, theirs, say("refused")) },
		"Send, normal":            func() error { return f.faulty.Send(ctx, "jobs", say("refused")) },
		"GroupSend":               func() error { return f.faulty.GroupSend(ctx, "g2", say("refused")) },
		"GroupSend, large":        func() error { return f.faulty.GroupSend(ctx, "g120", say("refused")) },
		"GroupAdd":                func() error { return f.faulty.GroupAdd(ctx, "new", own) },
		"GroupAdd, to what there": func() error { return f.faulty.GroupAdd(ctx, "g2", own) },
	}
	for what, call := range refused {
		err := call()
		require.ErrorIs(t, err, layer.ErrNotSent, what)
		require.ErrorIs(t, err, layer.ErrUnavailable, what)
		require.ErrorContains(t, err, "OOM", what)
	}
	require.Equal(t, before, contents(t, f.client), "what the server has")
	require.NoError(t, f.faulty.Ping(ctx))
	require.Equal(t, "before", next(t, f.faulty, "jobs").String("text"))
	require.Equal(t, "before", next(t, f.faulty, "jobs").String("text"))
	require.Equal(t, "before", next(t, f.faulty, "waiting").String("text"))
	require.NoError(t, f.faulty.GroupDiscard(ctx, "g2", "jobs"))
	require.Equal(t, []string{theirs}, f.members(t, "g2"))
	silent(t, f.sound, theirs)

	free()
	require.NoError(t, f.faulty.GroupAdd(ctx, "g2", own))
	require.NoError(t, f.faulty.GroupSend(ctx, "g2", say("after")))
	require.Equal(t, "after", next(t, f.sound, theirs).String("text"))
	require.Equal(t, "after", next(t, f.faulty, own).String("text"))
	require.Empty(t, f.gaps)
}

// contents is all that a server has, with members and scores.
func contents(t *testing.T, client *redis.Client) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, key := range client.Keys(t.Context(), "*").Val() {
		all[key] = fmt.Sprint(client.ZRangeWithScores(t.Context(), key, 0, -1).Val())
	}
	return all
}

// PubSub keeps nothing at Redis, and so does not mind.
func TestPubSubOutOfMemory(t *testing.T) {
	server := redistest.Start(t, redistest.Config{})
	client, ctx := server.Client(t), t.Context()
	fillMemory(t, client)
	sender, receiver := openPubSub(t, []string{server.URL()}, channelsredis.Options{}), openPubSub(t, []string{server.URL()}, channelsredis.Options{})
	channel := newOwn(t, receiver)
	require.NoError(t, receiver.GroupAdd(ctx, "g", channel))
	require.NoError(t, sender.Send(ctx, channel, say("one")))
	require.NoError(t, sender.GroupSend(ctx, "g", say(strings.Repeat("x", 100_000))))
	require.Equal(t, "one", next(t, receiver, channel).String("text"))
	require.Len(t, next(t, receiver, channel).String("text"), 100_000)
}
