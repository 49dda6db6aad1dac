package channelsredis_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/channellayer/channellayer/internal/pypeer"
	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/redislayer/channelsredis"
)

func TestInteropPubSubValues(t *testing.T) {
	overPubSub(t, func(t *testing.T, b *pubsubBus) {
		ours, theirs := newOwn(t, b.ours), b.newTheirs(t)
		sent := map[string]any{
			"type": "test.values", "nil": nil, "yes": true, "int": int64(-1 << 63), "float": 1e300, "text": "é😀", "bytes": []byte{0, 255},
			"list": []any{int64(1), []any{}, "x"}, "map": map[string]any{"": map[string]any{}}, "large": strings.Repeat("x", 1_000_000),
		}
		if b.config.SerializerFormat == "json" {
			delete(sent, "bytes") // which JSON has not
		}
		require.NoError(t, b.ours.Send(t.Context(), theirs, layer.NewMessage(sent)))
		require.Equal(t, sent, b.theirs.Receive(theirs, patience))
		b.theirs.Send(ours, sent)
		require.Equal(t, sent, next(t, b.ours, ours).Map())
		b.record(t, "values of every type, 1 MB", goToPython)
		b.record(t, "values of every type, 1 MB", pythonToGo)

		// What no message can hold is dropped, and nothing else is disturbed.
		b.theirs.Send(ours, pypeer.Source("{'type': 'x', 'n': 2**63}"))
		b.theirs.Send(ours, fromPython(1))
		require.EqualValues(t, 1, next(t, b.ours, ours).Int("n"))
		require.EqualValues(t, 1, b.ours.Stats().Dropped[layer.DropUndecodable])
	})
}

// PubSub of channels_redis 4.0.0 takes symmetric_encryption_keys, and sends in
// the clear. A Go layer with the keys lets nothing through that is not
// encrypted: it drops and counts it. What Go encrypts, that Python cannot read.
func TestInteropPubSubKeysOfOldPython(t *testing.T) {
	pypeer.Need(t)
	if pypeer.HasSerializers() {
		t.Skip("this channels_redis encrypts")
	}
	keys := []string{"a key"}
	drops := make(chan string, 10)
	b := newPubSubBus(t, 1, pypeer.Options{Keys: keys}, channelsredis.Options{
		Observer: layer.Observer{Dropped: func(reason layer.DropReason, name string, count int) {
			drops <- fmt.Sprint(reason, " ", name, " ", count)
		}},
	})
	ctx := t.Context()
	ours, theirs := newOwn(t, b.ours), b.newTheirs(t)
	b.theirs.Send(ours, fromPython(1))
	require.Equal(t, "undecodable "+ours+" 1", <-drops)
	require.NoError(t, b.ours.Send(ctx, theirs, note(2)))
	_, err := b.theirs.TryReceive(theirs, patience)
	require.Error(t, err)
	require.False(t, pypeer.IsType(err, "TimeoutError"), "got %v", err)

	// Later versions encrypt as Python's Fernet does: that is read, of any key.
	b.theirs.GroupSend("room", fromPython(3)) // nobody is in it
	body, err := b.python.Pack(fromPython(4))
	require.NoError(t, err)
	token, err := b.python.Encrypt("a key", body)
	require.NoError(t, err)
	require.NoError(t, b.clients[0].Publish(ctx, ours, token).Err())
	require.EqualValues(t, 4, next(t, b.ours, ours).Int("n"))
	stranger, err := b.python.Encrypt("another key", body)
	require.NoError(t, err)
	require.NoError(t, b.clients[0].Publish(ctx, ours, stranger).Err())
	require.Equal(t, "undecodable "+ours+" 1", <-drops)

	heard := b.clients[0].Subscribe(ctx, b.group("room"))
	defer heard.Close()
	_, err = heard.Receive(ctx)
	require.NoError(t, err)
	require.NoError(t, b.ours.GroupSend(ctx, "room", note(5)))
	msg, err := heard.ReceiveMessage(ctx)
	require.NoError(t, err)
	plain, err := b.python.Decrypt("a key", []byte(msg.Payload), 0)
	require.NoError(t, err)
	value, err := b.python.Unpack(plain)
	require.NoError(t, err)
	require.Equal(t, fromPython(5), value)
}
