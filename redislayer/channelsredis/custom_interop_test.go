package channelsredis_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/channellayer/channellayer/internal/pypeer"
	"github.com/channellayer/channellayer/internal/redistest"
	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/redislayer/channelsredis"
)

// A serializer that was registered with channels_redis has its counterpart in a
// CustomSerializer: channels, groups and encryption work with it as with others.
func TestInteropCustomSerializer(t *testing.T) {
	pypeer.Need(t)
	if !pypeer.HasSerializers() {
		t.Skip("this channels_redis has no serializers")
	}
	own := channelsredis.CustomSerializer{
		Marshal: func(fields map[string]any) ([]byte, error) {
			text, err := json.Marshal(fields)
			return base64.StdEncoding.AppendEncode(nil, text), err
		},
		Unmarshal: func(b []byte) (fields map[string]any, err error) {
			text, err := base64.StdEncoding.AppendDecode(nil, b)
			if err == nil {
				err = json.Unmarshal(text, &fields)
			}
			return fields, err
		},
	}
	server := redistest.Start(t, redistest.Config{})
	client := server.Client(t)
	for _, keys := range [][]string{nil, someKeys} {
		for _, kind := range []string{"Core", "PubSub"} {
			ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
			defer cancel()
			option := plain
			if keys != nil {
				option = encrypted
			}
			record(t, kind, "a serializer of one's own", goToPython, option)
			record(t, kind, "a serializer of one's own", pythonToGo, option)
			o := channelsredis.Options{SerializerFormat: own, SymmetricEncryptionKeys: keys, Prefix: option}
			python := pypeer.Start(t)
			config := pypeer.Options{Hosts: []string{server.URL()}, SerializerFormat: "own", Keys: keys, Prefix: option}
			var ours layer.Layer
			var theirs *pypeer.Layer
			var err error
			if kind == "Core" {
				theirs = python.Core(config)
				ours, err = channelsredis.OpenCore(ctx, config.Hosts, o)
			} else {
				theirs = python.PubSub(config)
				ours, err = channelsredis.OpenPubSub(ctx, config.Hosts, o)
			}
			require.NoError(t, err)
			defer func() { require.NoError(t, ours.Close()) }()
			message := map[string]any{"type": "test.note", "text": "h\u00e9", "list": []any{"a", true, nil}}
			here, there := newOwn(t, ours), theirs.NewChannel()
			require.NoError(t, ours.GroupAdd(ctx, "room", here))
			theirs.GroupAdd("room", there)
			if kind == "PubSub" {
				for _, name := range []string{there, option + "__group__room"} {
					soon(t, "Python's subscription", func() bool {
						n := client.PubSubNumSub(ctx, name).Val()[name]
						return name == there && n == 1 || n == 2
					})
				}
			}
			theirs.Send(here, message)
			require.Equal(t, message, next(t, ours, here).Map(), "%s, %s", kind, option)
			require.NoError(t, ours.Send(ctx, there, layer.NewMessage(message)))
			require.Equal(t, message, theirs.Receive(there, patience), "%s, %s", kind, option)
			for _, send := range []func(){
				func() { require.NoError(t, ours.GroupSend(ctx, "room", layer.NewMessage(message))) },
				func() { theirs.GroupSend("room", message) },
			} {
				send()
				require.Equal(t, message, next(t, ours, here).Map(), "%s, %s", kind, option)
				require.Equal(t, message, theirs.Receive(there, patience), "%s, %s", kind, option)
			}
		}
	}
}
