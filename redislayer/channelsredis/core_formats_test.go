package channelsredis_test

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/channellayer/channellayer/internal/redistest"
	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/redislayer/channelsredis"
)

// Every format stands in a queue as Python would write it, behind as many random
// bytes as are set, in the clear and encrypted.
func TestCoreFormats(t *testing.T) {
	server := redistest.Start(t, redistest.Config{})
	client, ctx := server.Client(t), t.Context()
	custom := channelsredis.CustomSerializer{
		Marshal: func(fields map[string]any) ([]byte, error) { return json.Marshal(fields) },
		Unmarshal: func(b []byte) (fields map[string]any, err error) {
			err = json.Unmarshal(b, &fields)
			return fields, err
		},
	}
	msg := layer.NewMessage(map[string]any{"type": "chat.message", "text": "h\u00e9"})
	for _, format := range []struct {
		name   string
		format channelsredis.Serializer
		wire   string
	}{
		{"msgpack", nil, "\x82\xa4text\xa3h\u00e9\xa4type\xacchat.message"},
		{"JSON", channelsredis.JSON{}, `{"text": "h\u00e9", "type": "chat.message"}`},
		{"custom", custom, `{"text":"h` + "\u00e9" + `","type":"chat.message"}`},
	} {
		for option, random := range map[int]int{0: 12, channelsredis.NoRandomPrefix: 0, 5: 5, 20: 20} {
			for _, keys := range [][]string{nil, {"new", "old"}} {
				name := fmt.Sprintf("%s, random prefix %d, keys %v", format.name, random, keys)
				o := channelsredis.Options{SerializerFormat: format.format, RandomPrefixLength: option, SymmetricEncryptionKeys: keys, Prefix: name}
				a, b := openOne(t, server, o), openOne(t, server, o)
				channel := newOwn(t, b)
				require.NoError(t, b.GroupAdd(ctx, "room", channel))
				require.NoError(t, b.GroupAdd(ctx, "room", "jobs"))

				require.NoError(t, a.Send(ctx, "jobs", msg))
				wire, err := client.ZRange(ctx, name+"jobs", 0, -1).Result()
				require.NoError(t, err, name)
				require.Len(t, wire, 1, name)
				require.Greater(t, len(wire[0]), random, name)
				if keys == nil {
					require.Equal(t, format.wire, wire[0][random:], name)
				} else {
					require.Regexp(t, "^gAAAAA[A-Za-z0-9_=-]+$", wire[0][random:], name)
				}
				require.True(t, msg.Equal(next(t, b, "jobs")), name)
				require.NoError(t, a.Send(ctx, channel, msg))
				require.True(t, msg.Equal(next(t, b, channel)), name)
				require.NoError(t, a.GroupSend(ctx, "room", msg))
				require.True(t, msg.Equal(next(t, b, channel)), name)
				require.True(t, msg.Equal(next(t, b, "jobs")), name)
				require.Zero(t, b.Stats().Dropped.Total(), name)
			}
		}
	}
}
