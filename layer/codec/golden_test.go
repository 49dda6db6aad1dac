package codec_test

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/layer/codec"
)

func TestGolden(t *testing.T) {
	const (
		a = "specific.0123456789abcdef0123456789abcdef!aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
		b = "specific.0123456789abcdef0123456789abcdef!bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
	)
	small := map[string]any{"type": "chat.message", "text": "hi"}
	expected := map[string]struct {
		message  map[string]any
		channels []string
		err      string
	}{
		// It holds 2^63, which no message may.
		"core, all types":                      {err: "integer 9223372036854775808 is outside int64"},
		"core, normal channel":                 {message: small},
		"core, specific channel":               {message: small, channels: []string{a}},
		"core, group of two specific channels": {message: small, channels: []string{a, b}},
		"core, group of a normal channel":      {message: small, channels: []string{"jobs"}},
		"pubsub":                               {message: small},
	}
	for name, wire := range golden(t) {
		t.Run(name, func(t *testing.T) {
			want, ok := expected[name]
			require.True(t, ok)
			msg, channels, err := codec.DecodeAddressed(wire)
			if want.err != "" {
				require.ErrorIs(t, err, layer.ErrInvalidMessage)
				require.ErrorContains(t, err, want.err)
				return
			}
			require.NoError(t, err)
			require.Equal(t, want.channels, channels)
			require.Equal(t, want.message, msg.Map())
		})
	}
}

// The integer that int64 cannot hold apart, all of it is read.
func TestGoldenAllTypes(t *testing.T) {
	wire := string(golden(t)["core, all types"])
	small := strings.Replace(wire, "\xcf\x80\x00\x00\x00\x00\x00\x00\x00", "\xcf\x7f\xff\xff\xff\xff\xff\xff\xff", 1)
	msg, err := codec.Decode([]byte(small))
	require.NoError(t, err)
	require.Equal(t, map[string]any{
		"type": "chat.message", "text": "hé", "n": int64(1), "neg": int64(-1), "big": int64(1<<63 - 1), "f": 1.5,
		"ok": true, "none": nil, "b": []byte{0, 255}, "l": []any{int64(1), int64(300)},
	}, msg.Map())
	require.Equal(t, len(small), msg.Size())
}

func golden(t *testing.T) map[string][]byte {
	t.Helper()
	text, err := os.ReadFile("testdata/channels_redis.txt")
	require.NoError(t, err)
	vectors := map[string][]byte{}
	for line := range strings.Lines(string(text)) {
		if name, hex, ok := strings.Cut(strings.TrimSpace(line), "\t"); ok {
			vectors[name] = unhex(t, hex)
		}
	}
	require.Len(t, vectors, 6)
	return vectors
}
