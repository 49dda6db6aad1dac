package channelsredis_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/channellayer/channellayer/internal/redistest"
	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/redislayer/channelsredis"
)

// A member whose name is no UTF-8 is skipped and counted: no serializer can
// write it, and Python could not read what holds it. The others get the
// message.
func TestCoreMemberThatIsNoUTF8(t *testing.T) {
	for name, format := range map[string]channelsredis.Serializer{"msgpack": channelsredis.MsgPack{}, "json": channelsredis.JSON{}} {
		t.Run(name, func(t *testing.T) {
			ctx := t.Context()
			server := redistest.Start(t, redistest.Config{})
			drops := make(chan layer.DropReason, 10)
			sender := openOne(t, server, channelsredis.Options{SerializerFormat: format, Observer: layer.Observer{
				Dropped: func(reason layer.DropReason, name string, n int) {
					require.Equal(t, "g", name)
					for range n {
						drops <- reason
					}
				},
			}})
			receiver := openOne(t, server, channelsredis.Options{SerializerFormat: format})
			own, theirs := newOwn(t, sender), newOwn(t, receiver)
			unicode := layer.ClientPrefix(theirs) + "h\u00e9" // a name that Python admits
			for _, member := range []string{"\xff", layer.ClientPrefix(theirs) + "\xff", layer.ClientPrefix(own) + "\xff", unicode} {
				now := float64(time.Now().UnixMicro()) / 1e6
				require.NoError(t, server.Client(t).ZAdd(ctx, "asgi:group:g", redis.Z{Score: now, Member: member}).Err())
			}
			require.NoError(t, sender.GroupAdd(ctx, "g", theirs))
			require.NoError(t, sender.GroupAdd(ctx, "g", own))
			for range 2 { // the second time as planned before
				require.NoError(t, sender.GroupSend(ctx, "g", note(1)))
				require.Equal(t, int64(1), next(t, receiver, theirs).Int("n"))
				require.Equal(t, int64(1), next(t, sender, own).Int("n"))
				for range 3 {
					require.Equal(t, layer.DropUndecodable, <-drops)
				}
			}
			require.Empty(t, drops)
			require.Equal(t, uint64(6), sender.Stats().Dropped[layer.DropUndecodable])
		})
	}
}

func openOne(t *testing.T, server *redistest.Server, o channelsredis.Options) *channelsredis.Core {
	t.Helper()
	c, err := channelsredis.OpenCore(t.Context(), []string{server.URL()}, o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	return c
}

// A server that comes back with its data has all memberships that began here,
// and none that somebody else has ended meanwhile.
func TestCoreRestartResurrectsNobody(t *testing.T) {
	f := newFaultyOn(t, redistest.Config{AOF: true}, nil)
	ctx := t.Context()
	own, stays, theirs := newOwn(t, f.faulty), newOwn(t, f.sound), newOwn(t, f.sound)
	for _, group := range []string{"with-own", "without-own"} {
		require.NoError(t, f.sound.GroupAdd(ctx, group, stays))
		for _, channel := range []string{theirs, "jobs"} {
			require.NoError(t, f.faulty.GroupAdd(ctx, group, channel))
		}
	}
	require.NoError(t, f.faulty.GroupAdd(ctx, "with-own", own))
	for _, group := range []string{"with-own", "without-own"} {
		for _, channel := range []string{theirs, "jobs"} {
			require.NoError(t, f.sound.GroupDiscard(ctx, group, channel))
		}
	}
	f.restart(t, f.server.Restart)
	require.ElementsMatch(t, []string{own, stays}, f.members(t, "with-own"))
	require.ElementsMatch(t, []string{stays}, f.members(t, "without-own"))
}

// A server that comes back empty gets the memberships that began here, as old
// as they are.
func TestCoreRestoredMembershipsAreNotRenewed(t *testing.T) {
	f := newFaulty(t, nil)
	ctx := t.Context()
	own, theirs := newOwn(t, f.faulty), newOwn(t, f.sound)
	require.NoError(t, f.sound.GroupAdd(ctx, "with-own", theirs)) // either may be the first to come back
	began := map[string]float64{}
	for group, channels := range map[string][]string{"with-own": {own, "jobs"}, "without-own": {"jobs"}} {
		for _, channel := range channels {
			require.NoError(t, f.faulty.GroupAdd(ctx, group, channel))
			began[group+" "+channel] = f.client.ZScore(ctx, "asgi:group:"+group, channel).Val()
		}
	}
	f.restart(t, f.server.RestartEmpty)
	for what, score := range began {
		group, channel, _ := strings.Cut(what, " ")
		// The server was away for longer than this; scores are as good as a round trip.
		require.InDelta(t, score, f.client.ZScore(ctx, "asgi:group:"+group, channel).Val(), 0.1, what)
	}
	require.Contains(t, f.members(t, "with-own"), theirs)
	require.InDelta(t, 24*time.Hour, f.client.PTTL(ctx, "asgi:group:without-own").Val(), float64(time.Minute))
}

// A key of another type costs its own group only.
func TestCoreRestoreMeetsAnotherType(t *testing.T) {
	f := newFaultyOn(t, redistest.Config{AOF: true}, nil)
	ctx := t.Context()
	own := newOwn(t, f.faulty)
	for _, group := range []string{"bad", "good"} {
		require.NoError(t, f.faulty.GroupAdd(ctx, group, own))
		require.NoError(t, f.client.Del(ctx, "asgi:group:"+group).Err())
	}
	require.NoError(t, f.client.Set(ctx, "asgi:group:bad", "x", 0).Err())
	f.restart(t, f.server.Restart)
	require.Equal(t, []string{own}, f.members(t, "good"))
}

// restart has both layers lose the server and find it again, after a while.
func (f *faulty) restart(t *testing.T, start func(testing.TB)) {
	t.Helper()
	ctx := t.Context()
	f.server.Kill()
	for _, l := range []*channelsredis.Core{f.faulty, f.sound} {
		soon(t, "the layer to notice", func() bool { return l.Ping(ctx) != nil })
	}
	time.Sleep(300 * time.Millisecond)
	start(t)
	for _, l := range []*channelsredis.Core{f.faulty, f.sound} {
		soon(t, "the layer to recover", func() bool { return l.Ping(ctx) == nil })
	}
}

func (f *faulty) members(t *testing.T, group string) []string {
	t.Helper()
	members, err := f.client.ZRange(t.Context(), "asgi:group:"+group, 0, -1).Result()
	require.NoError(t, err)
	return members
}

// Senders who leave at any time while members come and go: a message is for
// those who were members when it was sent, and every outcome is true.
func TestCoreMembersComeAndGo(t *testing.T) {
	const sends = 100
	server := redistest.Start(t, redistest.Config{})
	ctx := t.Context()
	sender := openOne(t, server, channelsredis.Options{Capacity: 10_000})
	receiver := openOne(t, server, channelsredis.Options{Capacity: 10_000})
	client := server.Client(t)
	for _, size := range []int{3, 150} { // in one round trip, and in two
		group := fmt.Sprint("g", size)
		key := "asgi:group:" + group
		join := func(channel string) {
			require.NoError(t, client.ZAdd(ctx, key, redis.Z{Score: float64(time.Now().UnixMicro()) / 1e6, Member: channel}).Err())
		}
		channels := make([]string, size)
		for i := range channels {
			channels[i] = newOwn(t, receiver)
			join(channels[i])
		}
		stays, flaps := channels[0], channels[1]
		outcomes, isMember := make([]error, sends), true
		for n := range sends {
			if n%3 == 0 {
				if isMember = n%2 == 0; isMember {
					join(flaps)
				} else {
					require.NoError(t, client.ZRem(ctx, key, flaps).Err())
				}
			}
			limited, cancel := ctx, context.CancelFunc(func() {})
			if n%2 == 1 {
				limited, cancel = context.WithTimeout(ctx, time.Duration(n*6)*time.Microsecond)
			}
			outcomes[n] = sender.GroupSend(limited, group, note(n))
			cancel()
			if outcomes[n] != nil {
				require.NoError(t, sender.Ping(ctx)) // what is under way comes to its end
			}
		}
		join(flaps)
		require.NoError(t, sender.GroupSend(ctx, group, note(sends)))
		for _, channel := range []string{stays, flaps} {
			got := map[int]bool{}
			for last := -1; last < sends; {
				n := int(next(t, receiver, channel).Int("n"))
				require.Greater(t, n, last, "in order, and once")
				got[n], last = true, n
			}
			for n, err := range outcomes {
				member := channel == stays || n/3%2 == 0
				switch {
				case !member || errors.Is(err, layer.ErrNotSent):
					require.False(t, got[n], "message %d to %d members, of which the channel is one: %v, arrived; its outcome was %v", n, size, member, err)
				case err == nil:
					require.True(t, got[n], "message %d to %d members was sent and did not arrive", n, size)
				default:
					require.ErrorIs(t, err, layer.ErrMaybeSent)
				}
			}
		}
	}
}
