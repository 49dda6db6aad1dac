package pypeer_test

import (
	"math"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/channellayer/channellayer/internal/pypeer"
	"github.com/channellayer/channellayer/internal/redistest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestLayers(t *testing.T) {
	python := pypeer.Start(t)
	server := redistest.Start(t, redistest.Config{})
	for name, open := range map[string]func(pypeer.Options) *pypeer.Layer{"core": python.Core, "pubsub": python.PubSub} {
		l := open(pypeer.Options{Hosts: []string{server.URL()}, Prefix: name, Expiry: 10 * time.Second})
		channel := l.NewChannel()
		require.Contains(t, channel, "specific.", name)
		message := map[string]any{"type": "chat", "l": []any{int64(1), 1.5, nil, true, []byte{0, 255}}}
		l.Send(channel, message)
		require.Equal(t, message, l.Receive(channel, 10*time.Second), name)

		l.GroupAdd("room", channel)
		l.GroupSend("room", message)
		require.Equal(t, message, l.Receive(channel, 10*time.Second), name)
		require.NoError(t, l.GroupSendMany("room", 1, 3, message))
		numbers, err := l.ReceiveMany(channel, 3, 10*time.Second)
		require.NoError(t, err)
		require.Equal(t, []int{1, 2, 3}, numbers, name)

		l.GroupDiscard("room", channel)
		l.GroupSend("room", message)
		_, err = l.TryReceive(channel, 200*time.Millisecond)
		require.True(t, pypeer.IsType(err, "TimeoutError"), "%s: got %v", name, err)
		l.Flush()
	}
}

func TestWorker(t *testing.T) {
	python := pypeer.Start(t)
	l := python.Core(pypeer.Options{Hosts: []string{redistest.Start(t, redistest.Config{}).URL()}, Capacity: 1000})
	replies := l.NewChannel()
	w := l.StartWorker("jobs")
	require.NoError(t, l.SendMany("jobs", 5, 2, map[string]any{"type": "job", "reply_to": replies}))
	numbers, err := l.ReceiveMany(replies, 2, 10*time.Second)
	require.NoError(t, err)
	require.Equal(t, []int{5, 6}, numbers)
	require.Equal(t, 2, w.Received())
	require.Len(t, w.Stop(), 2)
}

func TestValues(t *testing.T) {
	python := pypeer.Start(t)
	b, err := python.Pack(map[string]any{"b": []byte{1}, "a": pypeer.Source("(2**64-1, '\\xe9')")})
	require.NoError(t, err)
	v, err := python.Unpack(b)
	require.NoError(t, err)
	large, _ := new(big.Int).SetString("18446744073709551615", 10)
	require.Equal(t, map[string]any{"b": []byte{1}, "a": []any{large, "é"}}, v)

	text, err := python.DumpJSON([]any{math.Inf(-1), 1e16, "é"})
	require.NoError(t, err)
	require.Equal(t, `[-Infinity, 1e+16, "\u00e9"]`, string(text))
	v, err = python.LoadJSON([]byte(`[NaN, 12345678901234567890123]`))
	require.NoError(t, err)
	require.True(t, math.IsNaN(v.([]any)[0].(float64)))

	token, err := python.Encrypt("key", []byte("body"))
	require.NoError(t, err)
	plain, err := python.Decrypt("key", token, time.Minute)
	require.NoError(t, err)
	require.Equal(t, "body", string(plain))
	_, err = python.Decrypt("another", token, 0)
	require.True(t, pypeer.IsType(err, "InvalidToken"), "got %v", err)

	_, err = python.Pack(pypeer.Source("{1, 2}"))
	require.True(t, pypeer.IsType(err, "TypeError") && strings.Contains(err.Error(), "set"), "got %v", err)
}

func TestKill(t *testing.T) {
	python := pypeer.Start(t)
	python.Kill()
	_, err := python.Pack(nil)
	require.Error(t, err)
	python.Kill()
}
