package channelsredis

import (
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/channellayer/channellayer/internal/redistest"
	"github.com/channellayer/channellayer/layer"
)

// What is sent comes behind what is in the queue, also where that has the time of
// a clock that is somewhat ahead; a clock that is far ahead is not followed.
func TestCoreScores(t *testing.T) {
	ctx := t.Context()
	server := redistest.Start(t, redistest.Config{})
	client := server.Client(t)
	c, err := OpenCore(ctx, []string{server.URL()}, Options{})
	require.NoError(t, err)
	defer c.Close()
	message := layer.NewMessage(map[string]any{"type": "t"})
	for name, send := range map[string]func(channel string) error{
		"send":  func(channel string) error { return c.Send(ctx, channel, message) },
		"group": func(channel string) error { return c.GroupSend(ctx, "g-"+channel[:1], message) },
	} {
		for what, test := range map[string]struct {
			ahead  time.Duration
			behind bool
		}{
			"a past one":       {-100 * time.Millisecond, true},
			"somewhat ahead":   {900 * time.Millisecond, true},
			"far ahead":        {time.Minute, false},
			"of half a micro":  {500*time.Millisecond + 500, true},
			"of the same time": {0, true},
		} {
			t.Run(name+", "+what, func(t *testing.T) {
				const channel, queue = "x.y!z", "asgix.y!"
				require.NoError(t, c.GroupAdd(ctx, "g-x", channel))
				require.NoError(t, client.Del(ctx, queue).Err())
				now, err := client.Time(ctx).Result()
				require.NoError(t, err)
				there := float64(now.Add(test.ahead).UnixNano()) / 1e9
				require.NoError(t, client.ZAdd(ctx, queue, redis.Z{Score: there, Member: "there"}).Err())
				last := 0.0
				for range 3 {
					require.NoError(t, send(channel))
					scores := client.ZRangeWithScores(ctx, queue, 0, -1).Val()
					if !test.behind {
						require.Equal(t, "there", scores[len(scores)-1].Member)
						scores = scores[:len(scores)-1]
					} else {
						require.Equal(t, "there", scores[0].Member, "%v", scores)
						require.Greater(t, scores[1].Score, there)
					}
					newest := scores[len(scores)-1]
					require.Greater(t, newest.Score, last)
					last = newest.Score
				}
			})
		}
	}
}
