package channelsredis_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/channellayer/channellayer/internal/redistest"
	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/redislayer/channelsredis"
)

// Every format goes over the wire as Python would write it, in the clear and
// encrypted.
func TestPubSubFormats(t *testing.T) {
	server := redistest.Start(t, redistest.Config{})
	ctx := t.Context()
	custom := channelsredis.CustomSerializer{
		Marshal: func(fields map[string]any) ([]byte, error) { return json.Marshal(fields) },
		Unmarshal: func(b []byte) (fields map[string]any, err error) {
			err = json.Unmarshal(b, &fields)
			return fields, err
		},
	}
	msg := layer.NewMessage(map[string]any{"type": "chat.message", "text": "hé"})
	for _, test := range []struct {
		name   string
		format channelsredis.Serializer
		wire   string
	}{
		{"msgpack", nil, "\x82\xa4text\xa3hé\xa4type\xacchat.message"},
		{"JSON", channelsredis.JSON{}, `{"text": "h\u00e9", "type": "chat.message"}`},
		{"custom", custom, `{"text":"hé","type":"chat.message"}`},
	} {
		for _, keys := range [][]string{nil, {"new", "old"}} {
			o := channelsredis.Options{SerializerFormat: test.format, SymmetricEncryptionKeys: keys, Prefix: test.name}
			a, b := openPubSub(t, []string{server.URL()}, o), openPubSub(t, []string{server.URL()}, o)
			channel := newOwn(t, b)
			require.NoError(t, b.GroupAdd(ctx, "room", channel))
			heard := server.Client(t).Subscribe(ctx, test.name+"__group__room")
			_, err := heard.Receive(ctx)
			require.NoError(t, err)

			require.NoError(t, a.GroupSend(ctx, "room", msg))
			require.True(t, msg.Equal(next(t, b, channel)), test.name)
			wire, err := heard.ReceiveMessage(ctx)
			require.NoError(t, err)
			if keys == nil {
				require.Equal(t, test.wire, wire.Payload, test.name)
			} else {
				require.Regexp(t, "^gAAAAA[A-Za-z0-9_=-]+$", wire.Payload, test.name)
			}
			require.NoError(t, heard.Close())
			require.NoError(t, a.Send(ctx, channel, msg))
			require.True(t, msg.Equal(next(t, b, channel)), test.name)
		}
	}
}

// Keys change without a moment in which messages are lost.
func TestPubSubKeyRotation(t *testing.T) {
	server := redistest.Start(t, redistest.Config{})
	ctx := t.Context()
	open := func(keys ...string) *channelsredis.PubSub {
		return openPubSub(t, []string{server.URL()}, channelsredis.Options{SymmetricEncryptionKeys: keys})
	}
	// Each step beside the one before it.
	steps := []*channelsredis.PubSub{open("old"), open("old", "new"), open("new", "old"), open("new")}
	for i, from := range steps {
		for j, to := range steps {
			channel := newOwn(t, to)
			if i-j == 1 || j-i == 1 || i == j {
				require.NoError(t, from.Send(ctx, channel, note(i)), "from step %d to %d", i, j)
				require.EqualValues(t, i, next(t, to, channel).Int("n"), "from step %d to %d", i, j)
			}
		}
	}
	last := newOwn(t, steps[3])
	require.NoError(t, steps[0].Send(ctx, last, note(1)))
	soon(t, "what the old key encrypted to be dropped", func() bool { return steps[3].Stats().Dropped[layer.DropUndecodable] == 1 })
	silent(t, steps[3], last)
}

// A message for a normal channel waits, no longer than Expiry, and at most as
// many as Capacity.
func TestPubSubHeldMessages(t *testing.T) {
	server := redistest.Start(t, redistest.Config{})
	ctx := t.Context()
	a := openPubSub(t, []string{server.URL()}, channelsredis.Options{Capacity: 3, Expiry: 1500 * time.Millisecond})
	b := openPubSub(t, []string{server.URL()}, channelsredis.Options{})
	for n := range 3 {
		require.NoError(t, a.Send(ctx, "late", note(n)))
	}
	require.ErrorIs(t, a.Send(ctx, "late", note(3)), layer.ErrChannelFull)
	soon(t, "them to expire", func() bool { return a.Stats().Dropped[layer.DropExpired] == 3 })
	for n := range 3 {
		require.NoError(t, a.Send(ctx, "late", note(10+n)))
	}
	for n := range 3 {
		require.EqualValues(t, 10+n, next(t, b, "late").Int("n"))
	}
	require.NoError(t, a.Send(ctx, "late", note(20)))
	require.EqualValues(t, 20, next(t, b, "late").Int("n"))
	silent(t, b, "late")
}
