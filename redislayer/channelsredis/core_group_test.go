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
