package channelsredis_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/channellayer/channellayer/internal/pypeer"
	"github.com/channellayer/channellayer/internal/redistest"
	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/redislayer/channelsredis"
)

// A message to a group stands once in the queue of each process, whichever side
// sends it, with the names of all its channels in the group.
func TestInteropCoreBundles(t *testing.T) {
	overCore(t, pypeer.Options{}, func(t *testing.T, b *coreBus) {
		b.record(t, "group send: one entry for a process", goToPython)
		ctx := t.Context()
		var theirs []string
		for range 5 {
			theirs = append(theirs, b.theirs.NewChannel())
			require.NoError(t, b.go1.GroupAdd(ctx, "g", theirs[len(theirs)-1]))
		}
		entries := func() (n int64) {
			for _, url := range b.urls {
				client := redis.NewClient(&redis.Options{Addr: strings.TrimSuffix(strings.TrimPrefix(url, "redis://"), "/0")})
				defer client.Close()
				prefix := b.config.Prefix
				if prefix == "" {
					prefix = channelsredis.DefaultPrefix
				}
				n += client.ZCard(ctx, prefix+layer.ClientPrefix(theirs[0])).Val()
			}
			return n
		}
		for n := range 3 { // the first makes the plan
			require.NoError(t, b.go1.GroupSend(ctx, "g", note(n)))
			require.EqualValues(t, n+1, entries())
		}
		for n := range 3 {
			for _, channel := range theirs {
				require.Equal(t, fromPython(n), b.theirs.Receive(channel, patience))
			}
		}
	})
}

// What Go puts into a queue has strictly increasing scores, in the order in which
// it came, whoever else writes there, and however far its clock is ahead within a
// second.
func TestCoreScoresIncrease(t *testing.T) {
	server := redistest.Start(t, redistest.Config{})
	client, ctx := server.Client(t), t.Context()
	one, two := openOne(t, server, channelsredis.Options{Capacity: 1000}), openOne(t, server, channelsredis.Options{Capacity: 1000})
	const process = "specific.0123456789abcdef0123456789abcdef!"
	require.NoError(t, one.GroupAdd(ctx, "g", process+"a"))
	require.NoError(t, one.GroupAdd(ctx, "g", process+"b"))
	const early = 900 * time.Millisecond
	for n := range 50 {
		if n == 20 {
			z := redis.Z{Score: float64(time.Now().Add(early).UnixMicro()) / 1e6, Member: "of a clock that is early"}
			require.NoError(t, client.ZAdd(ctx, "asgi"+process, z).Err())
		}
		for _, err := range []error{
			one.Send(ctx, process+"a", note(4*n)), two.Send(ctx, process+"b", note(4*n+1)),
			two.GroupSend(ctx, "g", note(4*n+2)), one.GroupSend(ctx, "g", note(4*n+3)),
		} {
			require.NoError(t, err)
		}
	}
	entries := client.ZRangeWithScores(ctx, "asgi"+process, 0, -1).Val()
	require.Len(t, entries, 201)
	n := 0
	for i, e := range entries {
		if i > 0 {
			require.Greater(t, e.Score, entries[i-1].Score, "entry %d", i)
		}
		body := e.Member.(string)
		if strings.HasPrefix(body, "of a clock") {
			require.Equal(t, 80, n, "what came before it stands before it, and what came later behind")
			continue
		}
		msg, _, err := channelsredis.MsgPack{}.Decode([]byte(body[channelsredis.DefaultRandomPrefixLength:]))
		require.NoError(t, err)
		require.EqualValues(t, n, msg.Int("n"), "entry %d", i)
		n++
	}
}

// What waited in the queue of a process for longer than Expiry, while the process
// was not connected, is not delivered, but counted.
func TestCoreOwnQueueExpires(t *testing.T) {
	server := redistest.Start(t, redistest.Config{})
	client, ctx := server.Client(t), t.Context()
	c := openOne(t, server, channelsredis.Options{Expiry: 10 * time.Second})
	own := newOwn(t, c)
	now := time.Now()
	for i, age := range []time.Duration{time.Hour, 11 * time.Second, 5 * time.Second, 0} {
		body, err := channelsredis.MsgPack{}.Append([]byte("twelve bytes"), note(i), own)
		require.NoError(t, err)
		require.NoError(t, client.ZAdd(ctx, "asgi"+layer.ClientPrefix(own), redis.Z{Score: float64(now.Add(-age).UnixMicro()) / 1e6, Member: body}).Err())
	}
	require.EqualValues(t, 2, next(t, c, own).Int("n"))
	require.EqualValues(t, 3, next(t, c, own).Int("n"))
	silent(t, c, own)
	require.Equal(t, layer.Drops{layer.DropExpired: 2}, c.Stats().Dropped)
}

// Receivers that come and go lose nothing of what Python sends, and get nothing
// twice, on a normal channel and on one of their own.
func TestInteropCoreCancelledReceivers(t *testing.T) {
	overCore(t, pypeer.Options{Capacity: 5000}, func(t *testing.T, b *coreBus) {
		b.record(t, "receivers that are cancelled", pythonToGo)
		const count = 300
		for _, channel := range []string{"work", newOwn(t, b.go1)} {
			sent := make(chan error, 1)
			go func() { sent <- b.theirs.SendMany(channel, 0, count, map[string]any{"type": "test.note"}) }()
			seen := map[int64]int{}
			end := time.Now().Add(patience)
			for wait := time.Duration(0); len(seen) < count && time.Now().Before(end); wait = (wait + 37*time.Microsecond) % time.Millisecond {
				ctx, cancel := context.WithTimeout(t.Context(), wait)
				msg, err := b.go1.Receive(ctx, channel)
				cancel()
				if err == nil {
					seen[msg.Int("n")]++
				} else if !errors.Is(err, context.DeadlineExceeded) {
					require.NoError(t, err)
				}
			}
			require.NoError(t, <-sent)
			require.Len(t, seen, count, channel)
			for n, times := range seen {
				require.Equal(t, 1, times, "message %d on %s", n, channel)
			}
			silent(t, b.go1, channel)
		}
		require.Zero(t, b.go1.Stats().Dropped.Total())
	})
}

// The rights that the documentation names are enough, and no more is used.
func TestCoreRights(t *testing.T) {
	server := redistest.Start(t, redistest.Config{Users: []string{
		"default on nopass ~* &* +@all",
		"bus on >secret ~asgi* resetchannels -@all +@sortedset +@scripting +type +exists +pexpire +pttl +del +unlink " +
			"+info +time +scan +ping +client|id +client|kill +client|unblock",
	}})
	ctx := t.Context()
	url := "redis://bus:secret@" + server.Addr()
	a, z := openCoreOn(t, []string{url}, channelsredis.Options{}), openCoreOn(t, []string{url}, channelsredis.Options{})
	own := newOwn(t, a)
	require.NoError(t, z.GroupAdd(ctx, "g", own))
	require.NoError(t, z.GroupAdd(ctx, "g", "jobs"))
	for range 2 {
		require.NoError(t, z.GroupSend(ctx, "g", note(1)))
		require.EqualValues(t, 1, next(t, a, own).Int("n"))
		require.EqualValues(t, 1, next(t, a, "jobs").Int("n"))
	}
	require.NoError(t, z.Send(ctx, own, note(2)))
	require.EqualValues(t, 2, next(t, a, own).Int("n"))
	require.NoError(t, z.Ping(ctx))
	server.RestartEmpty(t)
	for _, l := range []*channelsredis.Core{a, z} {
		soon(t, "to be connected again", func() bool { return l.Ping(ctx) == nil })
	}
	require.NoError(t, a.GroupSend(ctx, "g", note(3)))
	require.EqualValues(t, 3, next(t, z, "jobs").Int("n"))
	require.NoError(t, z.GroupDiscard(ctx, "g", own))
	require.NoError(t, z.Flush(ctx))
	require.NoError(t, z.Release(ctx, newOwn(t, z)))
}

func TestPubSubRights(t *testing.T) {
	server := redistest.Start(t, redistest.Config{Users: []string{
		"default on nopass ~* &* +@all",
		"bus on >secret &* -@all +publish +subscribe +psubscribe +unsubscribe +punsubscribe +pubsub +ping +info +client|id +client|kill",
	}})
	ctx := t.Context()
	url := "redis://bus:secret@" + server.Addr()
	a, z := openPubSub(t, []string{url}, channelsredis.Options{}), openPubSub(t, []string{url}, channelsredis.Options{})
	own := newOwn(t, a)
	require.NoError(t, a.GroupAdd(ctx, "g", own))
	require.NoError(t, z.GroupSend(ctx, "g", note(1)))
	require.EqualValues(t, 1, next(t, a, own).Int("n"))
	require.NoError(t, z.Send(ctx, own, note(2)))
	require.EqualValues(t, 2, next(t, a, own).Int("n"))
	require.NoError(t, z.Send(ctx, "jobs", note(3))) // waits for a receiver
	require.EqualValues(t, 3, next(t, a, "jobs").Int("n"))
	require.NoError(t, a.GroupDiscard(ctx, "g", own))
	server.RestartEmpty(t)
	for _, l := range []*channelsredis.PubSub{a, z} {
		soon(t, "to be connected again", func() bool { return l.Ping(ctx) == nil })
	}
	require.NoError(t, z.Send(ctx, own, note(4)))
	require.EqualValues(t, 4, next(t, a, own).Int("n"))
}
