package channelsredis_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/channellayer/channellayer/internal/redistest"
	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/redislayer/channelsredis"
)

// A user who lacks a right is told so when the layer is opened, and which: not in
// the middle of the work, with a message written and its queue without an end.
func TestOpenTellsWhatRightIsMissing(t *testing.T) {
	server := redistest.Start(t, redistest.Config{})
	admin, ctx := server.Client(t), t.Context()
	open := map[string]func(context.Context, string) (layer.Layer, error){
		"Core": func(ctx context.Context, url string) (layer.Layer, error) {
			return channelsredis.OpenCore(ctx, []string{url}, channelsredis.Options{})
		},
		"PubSub": func(ctx context.Context, url string) (layer.Layer, error) {
			return channelsredis.OpenPubSub(ctx, []string{url}, channelsredis.Options{})
		},
	}
	for name, rights := range map[string]string{
		"Core": "zadd zcard zcount zmscore zrange zrangebyscore zrem zremrangebyscore bzmpop pexpire pttl del exists type time " +
			"evalsha script|load client|id client|kill client|unblock info ping",
		"PubSub": "publish psubscribe pubsub|numsub ping client|id client|kill info",
	} {
		for _, right := range append(strings.Fields(rights), "") {
			rules := []any{"ACL", "SETUSER", "bus", "reset", "on", ">secret", "~asgi*", "&*", "+@all"}
			if right != "" {
				rules = append(rules, "-"+right)
			}
			require.NoError(t, admin.Do(ctx, rules...).Err())
			limited, cancel := context.WithTimeout(ctx, 10*time.Second)
			l, err := open[name](limited, "redis://bus:secret@"+server.Addr())
			cancel()
			if right == "" {
				require.NoError(t, err, name)
				require.NoError(t, l.Close())
				continue
			}
			var setup *channelsredis.SetupError
			require.ErrorAs(t, err, &setup, "%s without %s", name, right)
			require.Contains(t, strings.ToLower(err.Error()), right, "%s without %s", name, right)
			require.Equal(t, 1, strings.Count(err.Error(), "the user"), "%s without %s: %v", name, right, err)
		}
	}
	require.Empty(t, admin.Keys(ctx, "*").Val())
}
