package channelsredis

import (
	"bytes"
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/channellayer/channellayer/internal/redistest"
	"github.com/channellayer/channellayer/layer"
)

// Tokens that may not be opened are dropped, counted and reported, and what
// stands before and behind them arrives. Tokens as old as Expiry and ten seconds
// more, and those of a clock that is a minute ahead, are good, as in Python.
func TestCoreTokens(t *testing.T) {
	server := redistest.Start(t, redistest.Config{})
	client := server.Client(t)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	type drop struct {
		reason layer.DropReason
		name   string
		count  int
	}
	drops := make(chan drop, 100)
	var log bytes.Buffer // written by one reader, which has ended when it is read
	reader, err := OpenCore(ctx, []string{server.URL()}, Options{
		SymmetricEncryptionKeys: []string{"key"},
		Observer:                layer.Observer{Dropped: func(reason layer.DropReason, name string, n int) { drops <- drop{reason, name, n} }},
		Logger:                  slog.New(slog.NewTextHandler(&log, nil)),
	})
	require.NoError(t, err)
	sender := goldenCore(t, MsgPack{}, 12, "key")
	own, err := reader.NewChannel(ctx, "")
	require.NoError(t, err)

	token := func(text string, ago time.Duration, address any) []byte {
		sender.fernet.now = func() time.Time { return time.Now().Add(-ago) }
		b, err := sender.encode(layer.NewMessage(map[string]any{"type": "test", "text": text}), address)
		require.NoError(t, err)
		return b
	}
	for _, v := range []struct {
		channel, queue, told string
		address              any
	}{
		{"jobs", "asgijobs", "jobs", nil},
		{own, "asgi" + layer.ClientPrefix(own), "", own},
	} {
		altered, short := token("altered", 0, v.address), token("short", 0, v.address)
		altered[len(altered)/2] ^= 1
		var entries []redis.Z
		score := float64(time.Now().UnixMicro()) / 1e6
		for _, member := range [][]byte{
			token("first", 0, v.address),
			token("expired", 75*time.Second, v.address), token("of the future", 65*time.Second*-1, v.address),
			altered, short[:len(short)-4], []byte(goldenRandom), []byte(goldenRandom + "\xff!"),
			token("old", 65*time.Second, v.address), token("ahead", -55*time.Second, v.address), token("last", 0, v.address),
		} {
			score += 0.001
			entries = append(entries, redis.Z{Score: score, Member: member})
		}
		require.NoError(t, client.ZAdd(ctx, v.queue, entries...).Err())
		for _, want := range []string{"first", "old", "ahead", "last"} {
			msg, err := reader.Receive(ctx, v.channel)
			require.NoError(t, err)
			require.Equal(t, want, msg.String("text"), v.channel)
		}
		for range 6 {
			require.Equal(t, drop{layer.DropUndecodable, v.told, 1}, <-drops, v.channel)
		}
		require.Empty(t, drops, v.channel)
	}
	require.Equal(t, uint64(12), reader.Stats().Dropped[layer.DropUndecodable])
	require.NoError(t, reader.Close())
	require.Contains(t, log.String(), errTokenAge.Error())
}
