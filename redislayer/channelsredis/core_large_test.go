package channelsredis_test

import (
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/channellayer/channellayer/internal/redistest"
	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/redislayer/channelsredis"
)

// A message to a group comes to a process for all its channels at once, however
// many these are: the bound on a message's values is not one on them.
func TestCoreGroupWithManyChannelsOfOneProcess(t *testing.T) {
	const channels = layer.MaxValues + 1000
	for name, format := range map[string]channelsredis.Serializer{"msgpack": channelsredis.MsgPack{}, "json": channelsredis.JSON{}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := redistest.Start(t, redistest.Config{})
			client, ctx := server.Client(t), t.Context()
			o := channelsredis.Options{SerializerFormat: format, Timeout: 20 * time.Second}
			sender, receiver := openOne(t, server, o), openOne(t, server, o)
			members := make([]redis.Z, channels)
			for i := range members {
				channel, _ := receiver.NewChannel(ctx, "")
				members[i] = redis.Z{Score: float64(time.Now().Unix()), Member: channel}
			}
			for at := 0; at < channels; at += 10_000 {
				require.NoError(t, client.ZAdd(ctx, "asgi:group:g", members[at:min(at+10_000, channels)]...).Err())
			}
			values := make([]any, layer.MaxValues-100)
			for _, msg := range []layer.Message{note(1), layer.NewMessage(map[string]any{"type": "many", "values": values})} {
				require.NoError(t, sender.GroupSend(ctx, "g", msg))
				for i := 0; i < channels; i += 1000 {
					require.Equal(t, msg.Size(), next(t, receiver, members[i].Member.(string)).Size())
				}
			}
			require.Zero(t, receiver.Stats().Dropped.Total())
		})
	}
}
