package channelsredis_test

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
	"github.com/vmihailenco/msgpack/v5"

	"github.com/channellayer/channellayer/internal/redistest"
	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/redislayer/channelsredis"
)

// addressed is what stands in a queue: random bytes, and a map with that address.
func addressed(t *testing.T, text string, address any) string {
	t.Helper()
	b, err := msgpack.Marshal(map[string]any{"type": "say", "text": text, layer.ReservedKey: address})
	require.NoError(t, err)
	return fmt.Sprintf("%012x", rand.Uint64()>>16) + string(b)
}

// What a hostile neighbour puts into a queue is counted, whatever it is and
// whatever score it has, and costs no other message; nor does it keep others from
// sending there.
func TestCoreGarbageInQueues(t *testing.T) {
	server := redistest.Start(t, redistest.Config{})
	client, ctx := server.Client(t), t.Context()
	reader := openOne(t, server, channelsredis.Options{Capacity: 1000})
	sender := openOne(t, server, channelsredis.Options{Capacity: 1000})
	own := newOwn(t, reader)
	foreign := newOwn(t, sender)
	gone := newOwn(t, reader)
	require.NoError(t, reader.Release(ctx, gone))
	many := make([]string, 50_000)
	for i := range many {
		many[i] = fmt.Sprint(foreign, i)
	}
	garbage := map[string]string{
		"empty": "", "short": "x", "no map": "0123456789ab\x93\x01\x02\x03", "cut short": addressed(t, "cut", own)[:30],
		"trailing": addressed(t, "x", own) + "x", "deep": "0123456789ab" + strings.Repeat("\x91", 100_000),
		"huge length": "0123456789ab\xdd\xff\xff\xff\xff", "huge map": "0123456789ab\xdf\xff\xff\xff\xff", "ext": "0123456789ab\xc7\xff\x01",
		"keys that are no strings": "0123456789ab\x81\x01\x02", "no UTF-8": "0123456789ab\x81\xa1\xff\x01",
		"a Fernet token": "0123456789abgAAAAABn" + strings.Repeat("A", 100),
	}
	toNobody := map[string]any{
		"address: number": 5, "address: nil": nil, "address: map": map[string]any{own: own}, "address: list of numbers": []any{own, 5},
		"address: empty list": []any{}, "address: empty": "", "address: foreign": foreign, "address: normal": "jobs", "address: list in list": []any{[]any{own}},
		"address: bytes": []byte(own),
	}
	scores := []float64{math.Inf(1), math.Inf(-1), 1e300, -1e300, 0, -1, math.SmallestNonzeroFloat64, math.MaxFloat64}
	for _, queue := range []struct{ key, channel, group string }{{"asgijobs", "jobs", "normal"}, {"asgi" + layer.ClientPrefix(own), own, "specific"}} {
		require.NoError(t, sender.GroupAdd(ctx, queue.group, queue.channel))
		var members []redis.Z
		n := 0
		add := func(member string) {
			score := float64(time.Now().UnixMicro())/1e6 - float64(n)/1e3
			if n%2 == 0 {
				score = scores[n/2%len(scores)]
			}
			members = append(members, redis.Z{Score: score, Member: member})
			n++
		}
		for _, member := range garbage {
			add(member)
		}
		if queue.channel == own {
			for what, address := range toNobody {
				add(addressed(t, what, address))
			}
		}
		before := reader.Stats()
		require.NoError(t, client.ZAdd(ctx, queue.key, members...).Err())
		sent := make(chan error)
		go func() {
			for i := range 20 {
				var err error
				if i%2 == 0 {
					err = sender.Send(ctx, queue.channel, note(i))
				} else {
					err = sender.GroupSend(ctx, queue.group, note(i))
				}
				if err != nil {
					sent <- err
					return
				}
			}
			sent <- nil
		}()
		for i := range 20 {
			require.Equal(t, int64(i), next(t, reader, queue.channel).Int("n"), queue.channel)
		}
		require.NoError(t, <-sent)
		limited, cancel := context.WithCancel(ctx) // takes what stands behind all others
		last := make(chan error)
		go func() {
			_, err := reader.Receive(limited, queue.channel)
			last <- err
		}()
		soon(t, "all garbage to be counted", func() bool {
			var counted uint64
			for _, c := range []*channelsredis.Core{reader, sender} {
				for _, n := range c.Stats().Dropped {
					counted += n
				}
			}
			return counted-before.Dropped.Total() >= uint64(len(members))
		})
		cancel()
		require.ErrorIs(t, <-last, context.Canceled)
		require.Zero(t, client.ZCard(ctx, queue.key).Val(), "left in %s", queue.key)
	}
	require.NoError(t, client.ZAdd(ctx, "asgi"+layer.ClientPrefix(own), redis.Z{Score: float64(time.Now().UnixMicro()) / 1e6, Member: addressed(t, "to some", append(many, own, gone))}).Err())
	require.Equal(t, "to some", next(t, reader, own).String("text"))
	require.Zero(t, reader.Stats().Gaps)
	require.NoError(t, reader.Ping(ctx))
}
