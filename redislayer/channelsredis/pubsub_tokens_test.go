package channelsredis

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/channellayer/channellayer/internal/redistest"
	"github.com/channellayer/channellayer/layer"
)

// Tokens that cannot be opened are dropped, counted and reported, and what stands
// before and behind them arrives. A token's age does not matter, as in Python's
// PubSub: Redis keeps none.
func TestPubSubTokens(t *testing.T) {
	server := redistest.Start(t, redistest.Config{})
	client := server.Client(t)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	drops := make(chan string, 100)
	l, err := OpenPubSub(ctx, []string{server.URL()}, Options{
		SymmetricEncryptionKeys: []string{"key", "second"},
		Observer: layer.Observer{Dropped: func(reason layer.DropReason, name string, count int) {
			drops <- fmt.Sprint(reason, " ", name, " ", count)
		}},
	})
	require.NoError(t, err)
	defer func() { require.NoError(t, l.Close()) }()
	own, err := l.NewChannel(ctx, "")
	require.NoError(t, err)
	require.NoError(t, l.GroupAdd(ctx, "room", own))
	token := func(key string, n int, ago time.Duration) string {
		f := newFernet([]string{key})
		f.now = func() time.Time { return time.Now().Add(-ago) }
		plain, err := l.serialize(layer.NewMessage(map[string]any{"type": "test", "n": n}))
		require.NoError(t, err)
		return string(f.seal(nil, plain))
	}
	receive := func(want int) {
		t.Helper()
		msg, err := l.Receive(ctx, own)
		require.NoError(t, err)
		require.EqualValues(t, want, msg.Int("n"))
	}
	good := token("key", 1, 0)
	altered := []byte(good)
	altered[len(altered)/2] ^= 1
	for _, to := range []struct{ topic, name string }{{own, own}, {"asgi__group__room", "room"}} {
		publish := func(body string) { require.NoError(t, client.Publish(ctx, to.topic, body).Err()) }
		for i, bad := range []string{
			"", "garbage", "gAAAAA", good[:len(good)-4], good + "AAAA", "\n" + good, string(altered),
			token("other", 1, 0), "\x82\xa4type\xa1x\xa1n\x01",
		} {
			publish(token("key", 2*i, 0))
			publish(bad)
			publish(token("second", 2*i+1, 0))
			receive(2 * i)
			receive(2*i + 1)
			require.Equal(t, "undecodable "+to.name+" 1", <-drops, "%q to %s", bad, to.topic)
		}
		for i, ago := range []time.Duration{1000 * time.Hour, -1000 * time.Hour} {
			publish(token("key", i, ago))
			receive(i)
		}
	}
	require.EqualValues(t, 18, l.Stats().Dropped[layer.DropUndecodable])
	require.Empty(t, drops)
}
