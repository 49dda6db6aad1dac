package channelsredis

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/channellayer/channellayer/layer"
)

// goldenCore is a Core with the random bytes, the time and the IV of the golden
// files.
func goldenCore(t *testing.T, format Serializer, prefix int, keys ...string) *Core {
	c := &Core{bus: bus{options: Options{SerializerFormat: format, RandomPrefixLength: prefix}}, random: func(b []byte) { copy(b, goldenRandom) }}
	if keys != nil {
		c.fernet = testFernet(t, keys...)
	}
	return c
}

// TestCoreGolden writes what stands in a queue, whole, and compares it with what
// the real Python layer wrote: the same bytes, but for the order of the keys,
// which Python does not sort.
func TestCoreGolden(t *testing.T) {
	small := map[string]any{"type": "chat.message", "text": "hi"}
	accent := map[string]any{"type": "chat.message", "text": "h\u00e9"}
	lines := goldenLines(t)
	for name, v := range map[string]struct {
		format  Serializer
		prefix  int
		fields  map[string]any
		address any
	}{
		"core normal small":                {MsgPack{}, 12, small, nil},
		"core specific":                    {MsgPack{}, 12, small, goldenA},
		"core group_send 2 specific":       {MsgPack{}, 12, small, []string{goldenA, goldenB}},
		"core group_send normal":           {MsgPack{}, 12, small, []string{"jobs"}},
		"core specific json":               {JSON{}, 12, accent, goldenA},
		"core json random_prefix_length 0": {JSON{}, 0, small, nil},
	} {
		got, err := goldenCore(t, v.format, v.prefix).encode(layer.NewMessage(v.fields), v.address)
		require.NoError(t, err, name)
		require.Equal(t, sortedKeys(lines[name]), string(got), name)
	}
}

// verbatim writes the same bytes for every message: Python's, in Python's order.
type verbatim struct {
	Serializer
	body string
}

func (v verbatim) Append(dst []byte, _ layer.Message, _ any) ([]byte, error) {
	return append(dst, v.body...), nil
}

// TestCoreGoldenEncrypted does so with encrypted messages: the same bytes as the
// golden line with its body in a token of Python's cryptography. (The golden
// file's own tokens are of a key that is not known here; they begin alike.)
func TestCoreGoldenEncrypted(t *testing.T) {
	lines := goldenLines(t)
	text, err := os.ReadFile("testdata/fernet.txt")
	require.NoError(t, err)
	n := 0
	for line := range strings.Lines(string(text)) {
		name, token, ok := strings.Cut(strings.TrimSpace(line), "\t")
		if !ok || !strings.HasPrefix(name, "core ") {
			continue
		}
		n++
		body, hasPrefix := strings.CutPrefix(lines[name], goldenRandom)
		prefix := ""
		if hasPrefix {
			prefix = goldenRandom
		}
		got, err := goldenCore(t, verbatim{body: body}, len(prefix), vectorKey).encode(layer.Message{}, nil)
		require.NoError(t, err, name)
		require.Equal(t, prefix+token, string(got), name)
	}
	require.Equal(t, 4, n)
	for encrypted, plain := range map[string]string{"core specific Fernet": "core specific", "core json Fernet": "core json random_prefix_length 0"} {
		body := strings.TrimPrefix(lines[plain], goldenRandom)
		got, err := goldenCore(t, verbatim{body: body}, len(goldenRandom), vectorKey).encode(layer.Message{}, nil)
		require.NoError(t, err)
		require.Len(t, got, len(lines[encrypted]), encrypted)
		const head = len(goldenRandom) + fernetHead*4/3
		require.Equal(t, lines[encrypted][:head], string(got[:head]), encrypted)
	}
}
