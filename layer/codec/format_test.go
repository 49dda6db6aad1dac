package codec_test

import (
	"encoding/hex"
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/layer/codec"
)

// forms has each form of the msgpack specification that a value may have, as
// hex, and the value. shortest tells which of them is written.
var forms = []struct {
	name, hex string
	value     any
	shortest  bool
}{
	{"nil", "c0", nil, true},
	{"false", "c2", false, true},
	{"true", "c3", true, true},

	{"positive fixint, least", "00", int64(0), true},
	{"positive fixint, greatest", "7f", int64(127), true},
	{"negative fixint, least", "e0", int64(-32), true},
	{"negative fixint, greatest", "ff", int64(-1), true},
	{"uint 8 of a fixint", "cc7f", int64(127), false},
	{"uint 8, least", "cc80", int64(128), true},
	{"uint 8, greatest", "ccff", int64(255), true},
	{"uint 16 of a uint 8", "cd00ff", int64(255), false},
	{"uint 16, least", "cd0100", int64(256), true},
	{"uint 16, greatest", "cdffff", int64(65535), true},
	{"uint 32, least", "ce00010000", int64(65536), true},
	{"uint 32, greatest", "ceffffffff", int64(math.MaxUint32), true},
	{"uint 64 of a fixint", "cf0000000000000001", int64(1), false},
	{"uint 64, least", "cf0000000100000000", int64(1 << 32), true},
	{"uint 64, greatest int64", "cf7fffffffffffffff", int64(math.MaxInt64), true},
	{"int 8 of a positive", "d07f", int64(127), false},
	{"int 8 of a fixint", "d0ff", int64(-1), false},
	{"int 8, greatest", "d0df", int64(-33), true},
	{"int 8, least", "d080", int64(-128), true},
	{"int 16 of a positive", "d10080", int64(128), false},
	{"int 16, greatest", "d1ff7f", int64(-129), true},
	{"int 16, least", "d18000", int64(-32768), true},
	{"int 32 of a positive", "d27fffffff", int64(math.MaxInt32), false},
	{"int 32, greatest", "d2ffff7fff", int64(-32769), true},
	{"int 32, least", "d280000000", int64(math.MinInt32), true},
	{"int 64 of a positive", "d37fffffffffffffff", int64(math.MaxInt64), false},
	{"int 64, greatest", "d3ffffffff7fffffff", int64(math.MinInt32 - 1), true},
	{"int 64, least", "d38000000000000000", int64(math.MinInt64), true},

	{"float 32", "ca3fc00000", 1.5, false},
	{"float 32, infinite", "caff800000", math.Inf(-1), false},
	{"float 64", "cb3ff8000000000000", 1.5, true},
	{"float 64, whole", "cb3ff0000000000000", 1.0, true},
	{"float 64, NaN", "cb7ff8000000000001", math.NaN(), true},
	{"float 64, minus zero", "cb8000000000000000", math.Copysign(0, -1), true},

	{"fixstr, empty", "a0", "", true},
	{"fixstr", "a2c3a9", "é", true},
	{"fixstr, longest", "bf" + repeat("61", 31), strings.Repeat("a", 31), true},
	{"str 8 of a fixstr", "d90161", "a", false},
	{"str 8, shortest", "d920" + repeat("61", 32), strings.Repeat("a", 32), true},
	{"str 8, longest", "d9ff" + repeat("61", 255), strings.Repeat("a", 255), true},
	{"str 16 of a fixstr", "da000161", "a", false},
	{"str 16, shortest", "da0100" + repeat("61", 256), strings.Repeat("a", 256), true},
	{"str 32 of a fixstr", "db0000000161", "a", false},
	{"str 32, shortest", "db00010000" + repeat("61", 65536), strings.Repeat("a", 65536), true},

	{"bin 8, empty", "c400", []byte{}, true},
	{"bin 8, not UTF-8", "c40200ff", []byte{0, 255}, true},
	{"bin 8, longest", "c4ff" + repeat("61", 255), []byte(strings.Repeat("a", 255)), true},
	{"bin 16 of a bin 8", "c5000161", []byte("a"), false},
	{"bin 16, shortest", "c50100" + repeat("61", 256), []byte(strings.Repeat("a", 256)), true},
	{"bin 32 of a bin 8", "c60000000161", []byte("a"), false},
	{"bin 32, shortest", "c600010000" + repeat("61", 65536), []byte(strings.Repeat("a", 65536)), true},

	{"fixarray, empty", "90", []any{}, true},
	{"fixarray", "9201c0", []any{int64(1), nil}, true},
	{"fixarray, longest", "9f" + repeat("c3", 15), many(15), true},
	{"array 16 of a fixarray", "dc000101", []any{int64(1)}, false},
	{"array 16, shortest", "dc0010" + repeat("c3", 16), many(16), true},
	{"array 32 of a fixarray", "dd0000000101", []any{int64(1)}, false},
	{"array 32, shortest", "dd00010000" + repeat("c3", 65536), many(65536), true},

	{"fixmap, empty", "80", map[string]any{}, true},
	{"fixmap", "82a16101a16202", map[string]any{"a": int64(1), "b": int64(2)}, true},
	{"fixmap, not in order", "82a16202a16101", map[string]any{"a": int64(1), "b": int64(2)}, false},
	{"fixmap, key of bytes", "81c4016101", map[string]any{"a": int64(1)}, false},
	{"fixmap, key twice", "82a16101a16102", map[string]any{"a": int64(2)}, false},
	{"fixmap, key twice with another between", "83a16201a16102a16203", map[string]any{"a": int64(2), "b": int64(3)}, false},
	{"fixmap, key as bytes and as string", "82c4016101a161c0", map[string]any{"a": nil}, false},
	{"fixmap, the reserved key inside", "81b0" + hex.EncodeToString([]byte(layer.ReservedKey)) + "01", map[string]any{layer.ReservedKey: int64(1)}, true},
	{"map 16 of a fixmap", "de0001a16101", map[string]any{"a": int64(1)}, false},
	{"map 16, shortest", "de0010" + letters("abcdefghijklmnop"), letterMap("abcdefghijklmnop"), true},
	{"map 16, not in order", "de0010" + letters("bacdefghijklmnop"), letterMap("abcdefghijklmnop"), false},
	{"map 16, only the last not in order", "de0011" + letters("bcdefghijklmnopqa"), letterMap("abcdefghijklmnopq"), false},
	{"map 16, more keys not in order than are compared", "de0014" + letters("tsrqponmlkjihgfedcba"), letterMap("abcdefghijklmnopqrst"), false},
	{"map 16, the last repeats the first", "de0014" + letters("abcdefghijklmnopqrsa"), letterMap("abcdefghijklmnopqrs"), false},
	{"map 32 of a fixmap", "df00000001a16101", map[string]any{"a": int64(1)}, false},
}

func repeat(hex string, n int) string { return strings.Repeat(hex, n) }

func many(n int) []any {
	l := make([]any, n)
	for i := range l {
		l[i] = true
	}
	return l
}

// letters is a map's content: each letter a key with itself as value.
func letters(keys string) string {
	var out strings.Builder
	for _, c := range []byte(keys) {
		out.WriteString(hex.EncodeToString([]byte{0xa1, c, 0xa1, c}))
	}
	return out.String()
}

func letterMap(keys string) map[string]any {
	m := map[string]any{}
	for _, c := range keys {
		m[string(c)] = string(c)
	}
	return m
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	require.NoError(t, err)
	return b
}

func TestForms(t *testing.T) {
	for _, form := range forms {
		t.Run(form.name, func(t *testing.T) {
			wire := append([]byte("\x81\xa1v"), unhex(t, form.hex)...)
			want := layer.NewMessage(map[string]any{"v": form.value})
			require.NoError(t, want.Err())

			got, err := codec.Decode(wire)
			require.NoError(t, err)
			require.Equal(t, want.Size(), got.Size(), "size before anybody looked")
			require.True(t, want.Equal(got), "decoded %.200v, expected %.200v", got, want)

			size, err := codec.Check(wire)
			require.NoError(t, err)
			require.Equal(t, want.Size(), size, "size by Check")

			again, err := codec.Append(nil, got)
			require.NoError(t, err)
			require.Len(t, again, want.Size())
			if form.shortest && !strings.Contains(form.name, "NaN") {
				require.Equal(t, hex.EncodeToString(wire), hex.EncodeToString(again), "encoded again")
			}
		})
	}
}

// What holds for a message's own map holds for one inside, and is looked at by
// other code.
func TestMapFormsAsMessage(t *testing.T) {
	for _, form := range forms {
		m, ok := form.value.(map[string]any)
		if _, reserved := m[layer.ReservedKey]; !ok || reserved {
			continue
		}
		t.Run(form.name, func(t *testing.T) {
			want := layer.NewMessage(m)
			got, err := codec.Decode(unhex(t, form.hex))
			require.NoError(t, err)
			require.Equal(t, want.Size(), got.Size())
			require.Equal(t, want.Len(), got.Len())
			require.True(t, want.Equal(got), "decoded %v, expected %v", got, want)
		})
	}
}
