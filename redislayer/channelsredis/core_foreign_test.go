package channelsredis_test

import (
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

// A key of the bus that holds something else keeps nobody from receiving what is
// in others: neither receivers of normal channels, nor the process's own. The
// connection goes on to be used, Ping names the key, and when that is gone all is
// well.
func TestCoreReceivesBesideForeignKeys(t *testing.T) {
	for name, config := range map[string]redistest.Config{
		"Redis 7": {}, "Redis 6.2": {Extra: []string{`rename-command BZMPOP ""`}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx := t.Context()
			server := redistest.Start(t, config)
			client := server.Client(t)
			receiver, sender := openOne(t, server, channelsredis.Options{}), openOne(t, server, channelsredis.Options{})
			own := newOwn(t, receiver)
			other, err := receiver.NewChannel(ctx, "other")
			require.NoError(t, err)
			foreign := []string{"asgibad", "asgiworse", "asgi" + layer.ClientPrefix(other)}
			require.NoError(t, client.Set(ctx, foreign[0], "x", 0).Err())
			require.NoError(t, client.RPush(ctx, foreign[1], "x").Err())
			require.NoError(t, client.Set(ctx, foreign[2], "x", 0).Err())
			got := make(chan layer.Message, 3)
			for _, channel := range []string{"bad", "worse", other} {
				go func() {
					if msg, err := receiver.Receive(ctx, channel); err == nil {
						got <- msg
					}
				}()
			}
			soon(t, "Ping to name "+foreign[2], func() bool {
				err := receiver.Ping(ctx)
				return err != nil && strings.Contains(err.Error(), foreign[2])
			})
			var setup *channelsredis.SetupError
			require.ErrorAs(t, receiver.Ping(ctx), &setup)
			before := connections(t, client)
			for n := range 50 {
				for _, channel := range []string{"jobs", own} {
					require.NoError(t, sender.Send(ctx, channel, note(n)))
					require.Equal(t, int64(n), next(t, receiver, channel).Int("n"), channel)
				}
			}
			require.Equal(t, before, connections(t, client), "connections made since then")
			require.Zero(t, receiver.Stats().Gaps)

			require.NoError(t, client.Del(ctx, foreign[2]).Err())
			soon(t, "Ping to name a normal channel's key", func() bool {
				err := receiver.Ping(ctx)
				return err != nil && (strings.Contains(err.Error(), foreign[0]) || strings.Contains(err.Error(), foreign[1]))
			})
			require.NoError(t, client.Del(ctx, foreign...).Err())
			soon(t, "Ping to be content", func() bool { return receiver.Ping(ctx) == nil })
			for _, channel := range []string{"bad", "worse", other} {
				require.NoError(t, sender.Send(ctx, channel, say(channel)))
			}
			for range 3 {
				select {
				case <-got:
				case <-time.After(patience):
					require.Fail(t, "a receiver that had waited got nothing")
				}
			}
		})
	}
}

// A member whose queue's key holds something else costs nobody else a message of
// the group. The error names the key.
func TestCoreGroupSendBesideForeignKeys(t *testing.T) {
	server := redistest.Start(t, redistest.Config{})
	client, ctx := server.Client(t), t.Context()
	sender, receiver := openOne(t, server, channelsredis.Options{}), openOne(t, server, channelsredis.Options{})
	require.NoError(t, client.Set(ctx, "asgibad", "x", 0).Err())
	for _, size := range []int{0, 120} { // in one round trip, and in two
		group := fmt.Sprint("g", size)
		for range size {
			require.NoError(t, sender.GroupAdd(ctx, group, newOwn(t, receiver)))
		}
		members := map[string]layer.Layer{}
		for _, l := range []layer.Layer{receiver, sender, openOne(t, server, channelsredis.Options{})} {
			channel := newOwn(t, l)
			members[channel] = l
			require.NoError(t, sender.GroupAdd(ctx, group, channel))
			if l == sender {
				require.NoError(t, sender.GroupAdd(ctx, group, "bad")) // in the middle
			}
		}
		for n := range 2 { // the second as planned before
			err := sender.GroupSend(ctx, group, note(n))
			var setup *channelsredis.SetupError
			require.ErrorAs(t, err, &setup)
			require.ErrorIs(t, err, layer.ErrMaybeSent)
			require.ErrorContains(t, err, `"asgibad"`)
			for channel, l := range members {
				require.Equal(t, int64(n), next(t, l, channel).Int("n"), "message %d to the group of %d others", n, size)
			}
		}
	}
	err := sender.Send(ctx, "bad", note(1))
	require.ErrorContains(t, err, `"asgibad"`)
}

// Members of a group whose names are those of no channel get nothing, and are
// counted: the key that such a name makes is another's.
func TestCoreMembersThatAreNoChannels(t *testing.T) {
	f := newFaulty(t, nil)
	ctx := t.Context()
	theirs := newOwn(t, f.sound)
	require.NoError(t, f.sound.GroupAdd(ctx, "victim", theirs))
	members := []string{":group:victim", ":group:new", "", "queue$inflight", "a b", "!x", "a!b!c", fmt.Sprintf("%0101d", 1)}
	for _, member := range members {
		require.NoError(t, f.client.ZAdd(ctx, "asgi:group:g", redis.Z{Score: float64(time.Now().Unix()), Member: member}).Err())
	}
	require.NoError(t, f.sound.GroupAdd(ctx, "g", theirs))
	require.NoError(t, f.faulty.GroupSend(ctx, "g", say("to who there is")))
	require.Equal(t, "to who there is", next(t, f.sound, theirs).String("text"))
	require.EqualValues(t, len(members), f.faulty.Stats().Dropped[layer.DropUndecodable])
	require.ElementsMatch(t, []string{"asgi:group:g", "asgi:group:victim"}, f.client.Keys(ctx, "*").Val())
	require.Equal(t, []string{theirs}, f.members(t, "victim"))
}

// connections is how many a server has accepted.
func connections(t *testing.T, client *redis.Client) string {
	t.Helper()
	_, text, _ := strings.Cut(client.Info(t.Context(), "stats").Val(), "total_connections_received:")
	number, _, _ := strings.Cut(text, "\r\n")
	require.NotEmpty(t, number)
	return number
}
