package channelsredis

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/channellayer/channellayer/internal/redistest"
	"github.com/channellayer/channellayer/layer"
)

// The plan of a group is used again as long as the members stay the same, and
// no longer, however they change and whoever changes them.
func TestCorePlans(t *testing.T) {
	for _, size := range []int{digestMembers - 1, digestMembers + 50} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			ctx := t.Context()
			server := redistest.Start(t, redistest.Config{})
			client := server.Client(t)
			open := func() *Core {
				c, err := OpenCore(ctx, []string{server.URL()}, Options{})
				require.NoError(t, err)
				t.Cleanup(func() { require.NoError(t, c.Close()) })
				return c
			}
			sender, receiver := open(), open()
			members := map[string]bool{}
			newMember := func() string {
				channel, err := receiver.NewChannel(ctx, "")
				require.NoError(t, err)
				members[channel] = true
				return channel
			}
			for range size {
				require.NoError(t, receiver.GroupAdd(ctx, "g", newMember()))
			}
			n := 0
			send := func(when string) *plan {
				t.Helper()
				n++
				require.NoError(t, sender.GroupSend(ctx, "g", layer.NewMessage(map[string]any{"type": "t", "n": n})))
				soon, cancel := context.WithTimeout(ctx, 10*time.Second)
				defer cancel()
				for channel := range members {
					msg, err := receiver.Receive(soon, channel)
					require.NoError(t, err, "%s should get message %d %s", channel, n, when)
					require.EqualValues(t, n, msg.Int("n"), "what %s got %s", channel, when)
				}
				require.Zero(t, receiver.Stats().Dropped[layer.DropClosed])
				return sender.plans.get("g")
			}
			send("at first")
			first := send("the second time")
			require.NotNil(t, first)
			for range 3 {
				require.Same(t, first, send("later"), "the plan, with the same members")
			}

			// One leaves and one comes, whose score, of a clock that is behind, is
			// neither the highest nor the lowest.
			var leaves string
			for leaves = range members {
				break
			}
			delete(members, leaves)
			scores := client.ZRangeWithScores(ctx, sender.groupKey("g"), 0, 1).Val()
			require.NoError(t, client.ZRem(ctx, sender.groupKey("g"), leaves).Err())
			require.NoError(t, client.ZAdd(ctx, sender.groupKey("g"),
				redis.Z{Score: (scores[0].Score + scores[1].Score) / 2, Member: newMember()}).Err())
			require.NotSame(t, first, send("with another member"))

			// Adding again changes the order, and nothing else.
			for again := range members {
				require.NoError(t, sender.GroupAdd(ctx, "g", again))
				break
			}
			send("after adding again")

			for channel := range members {
				require.NoError(t, sender.GroupDiscard(ctx, "g", channel))
			}
			left := members
			members = map[string]bool{}
			send("with nobody in the group")
			members = left
			for channel := range members {
				require.NoError(t, sender.GroupAdd(ctx, "g", channel))
			}
			send("with all of them again")
		})
	}
}

func TestPlansAreBounded(t *testing.T) {
	p := plans{m: map[string]*plan{}}
	for n := range 50 {
		p.put(fmt.Sprint(n), &plan{size: maxPlans / 10})
		p.put(fmt.Sprint(n), &plan{size: maxPlans / 10})
		total := 0
		for _, kept := range p.m {
			total += kept.size
		}
		require.Equal(t, total, p.bytes)
		require.LessOrEqual(t, total, maxPlans)
	}
	p.put("large", &plan{size: maxPlans + 1})
	require.Nil(t, p.get("large"))
}

// Plans take no more memory than is counted, within a tenth, whatever groups there
// are.
func TestCorePlansTakeWhatIsCounted(t *testing.T) {
	server := redistest.Start(t, redistest.Config{})
	c, err := OpenCore(t.Context(), []string{server.URL()}, Options{})
	require.NoError(t, err)
	defer c.Close()
	heap := func() int {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int(m.HeapAlloc)
	}
	names := map[string]func(group, n int) string{
		"of one process":       func(int, int) string { return "specific." + strings.Repeat("p", 32) + "!" + randomHex() },
		"of as many processes": func(int, int) string { return "specific." + randomHex() + "!" + randomHex() },
		"normal":               func(group, n int) string { return fmt.Sprintf("jobs.%d.%d", group, n) },
	}
	for what, name := range names {
		for _, members := range []int{0, 1, 10, digestMembers, 10 * digestMembers} {
			c.plans = plans{m: map[string]*plan{}}
			before := heap()
			for group := range 10_000 / max(1, members) {
				var reply strings.Builder
				fmt.Fprintf(&reply, "*%d\r\n", members)
				for n := range members {
					channel := name(group, n)
					fmt.Fprintf(&reply, "$%d\r\n%s\r\n", len(channel), channel)
				}
				(&roster{reply: strings.Clone(reply.String())}).planned(c, fmt.Sprint("group", group))
			}
			require.LessOrEqual(t, float64(heap()-before), 1.1*float64(c.plans.bytes), "bytes of %d groups of %d channels %s", len(c.plans.m), members, what)
		}
	}
}

// A message for channels whose names were encoded before is the same, byte for
// byte, as one that encodes them.
func TestCoreEncodeListed(t *testing.T) {
	c := goldenCore(t, MsgPack{}, 12)
	for _, size := range []int{1, 2, 15, 16, 300} {
		channels := make([]string, size)
		for i := range channels {
			channels[i] = "specific." + strings.Repeat("c", i%90) + "!x"
		}
		for _, fields := range []map[string]any{{"type": "t"}, {"type": "t", "text": "hello", "n": 1.5}} {
			msg := layer.NewMessage(fields)
			want, err := c.encode(msg, channels)
			require.NoError(t, err)
			got, err := c.encodeListed(msg, queue{channels: channels, list: c.packed(channels)})
			require.NoError(t, err)
			require.Equal(t, want[12:], slices.Concat(got[0], got[1])[12:], "%d channels, %v", size, fields)
		}
	}
}
