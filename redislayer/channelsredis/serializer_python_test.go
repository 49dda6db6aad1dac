package channelsredis

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/channellayer/channellayer/internal/pypeer"
	"github.com/channellayer/channellayer/layer"
)

// pythonNaN has the bits of Python's NaN; others are numbers of their own to
// msgpack, on both sides.
var pythonNaN = math.Float64frombits(0x7ff8000000000000)

// edgeValues are what formats differ about.
func edgeValues() []any {
	values := []any{
		nil, true, false, "", "a", "é", "😀", "\u2028\x00\x7f\"\\/\b", []any{}, map[string]any{}, []any{[]any{}}, map[string]any{"": map[string]any{}},
		0.0, math.Copysign(0, -1), 1.0, -1.5, 1e15, 1e16, 123456789012345680.0, 1e21, 1e22, 1e-4, 9.999e-5, 1e-5, 5e-324, math.MaxFloat64, 0.1, 1.0 / 3,
		pythonNaN, math.Inf(1), math.Inf(-1), float64(1 << 53), 2.5e-8,
	}
	for _, edge := range []int64{0, -32, math.MinInt8, math.MaxInt8, math.MaxUint8, math.MinInt16, math.MaxInt16, math.MaxUint16, math.MinInt32, math.MaxInt32, math.MaxUint32, math.MinInt64, math.MaxInt64} {
		values = append(values, edge, edge-1, edge+1) // those beyond the ends wrap
	}
	for _, n := range []int{31, 32, 255, 256, 65535, 65536} {
		values = append(values, strings.Repeat("x", n))
	}
	for _, n := range []int{15, 16, 65536} {
		values = append(values, slices.Repeat([]any{nil}, n))
	}
	fields := map[string]any{}
	for i := range 17 {
		fields[fmt.Sprint(i)] = i
	}
	deep := any(map[string]any{})
	for range layer.MaxDepth - 2 {
		deep = []any{deep}
	}
	return append(values, fields, deep, strings.Repeat("é😀x ", 1_000_000/8))
}

func edgeBytes() []any {
	values := []any{[]byte{}, []byte{0, 255}, []any{[]byte("x")}}
	for _, n := range []int{255, 256, 65535, 65536, 1_000_000} {
		values = append(values, make([]byte, n))
	}
	return values
}

// randomValue makes values of every kind.
func randomValue(r *rand.Rand, depth int, withBytes bool) any {
	switch r.IntN(9) {
	case 0:
		return r.IntN(2) == 0
	case 1:
		return int64(r.Uint64()) >> r.IntN(64)
	case 2:
		if f := math.Float64frombits(r.Uint64()); f == f {
			return f
		}
		return pythonNaN
	case 3:
		return r.NormFloat64()
	case 4:
		if withBytes {
			return []byte(strings.Repeat("\x80", r.IntN(40)))
		}
	case 5:
		if depth > 0 {
			list := make([]any, r.IntN(5))
			for i := range list {
				list[i] = randomValue(r, depth-1, withBytes)
			}
			return list
		}
	case 6:
		if depth > 0 {
			return randomFields(r, depth-1, withBytes)
		}
	case 7:
		return nil
	}
	runes := make([]rune, r.IntN(40))
	for i := range runes {
		runes[i] = []rune{rune(r.IntN(0x80)), rune(r.IntN(0xd800)), 0x10000 + rune(r.IntN(0x10000))}[r.IntN(3)]
	}
	return string(runes)
}

func randomFields(r *rand.Rand, depth int, withBytes bool) map[string]any {
	fields := map[string]any{}
	for range r.IntN(6) {
		key, _ := randomValue(r, 0, false).(string)
		fields[key] = randomValue(r, depth, withBytes)
	}
	return fields
}

// TestSerializersAgainstPython writes each value here and in Python, compares
// the bytes, and reads them on both sides.
func TestSerializersAgainstPython(t *testing.T) {
	t.Parallel()
	python := pypeer.Start(t)
	type format struct {
		name      string
		format    Serializer
		withBytes bool
		write     func(any) ([]byte, error)
		read      func([]byte) (any, error)
	}
	formats := []format{
		{"msgpack", MsgPack{}, true, python.Pack, python.Unpack},
		{"JSON", JSON{}, false, python.DumpJSON, python.LoadJSON},
	}
	if pypeer.HasSerializers() { // channels_redis's own, not only what they call
		of := func(name string) (func(any) ([]byte, error), func([]byte) (any, error)) {
			return func(v any) ([]byte, error) { return python.Serialize(name, nil, v) },
				func(b []byte) (any, error) { return python.Deserialize(name, nil, b) }
		}
		pack, unpack := of("msgpack")
		dump, load := of("json")
		formats = append(formats, format{"serializer msgpack", MsgPack{}, true, pack, unpack}, format{"serializer json", JSON{}, false, dump, load})
	}
	for _, test := range formats {
		t.Run(test.name, func(t *testing.T) {
			seed := uint64(time.Now().UnixNano())
			r := rand.New(rand.NewPCG(seed, 0))
			values := edgeValues()
			if test.withBytes {
				values = append(values, edgeBytes()...)
			}
			for range 1000 {
				values = append(values, randomValue(r, 4, test.withBytes))
			}
			for i, v := range values {
				msg := layer.NewMessage(map[string]any{"type": "x", "v": v})
				require.NoError(t, msg.Err())
				ours, err := test.format.Append(nil, msg, nil)
				require.NoError(t, err)
				theirs, err := test.write(msg.Map())
				require.NoError(t, err, "seed %d, value %d: %.300v", seed, i, msg)
				require.True(t, string(ours) == string(theirs), "seed %d, value %d: %.300v\nhere:   %.300q\nPython: %.300q", seed, i, msg, ours, theirs)

				got, _, err := test.format.Decode(theirs)
				require.NoError(t, err)
				require.True(t, msg.Equal(got), "seed %d, value %d: Python wrote %.300v, read here as %.300v", seed, i, msg, got)
				read, err := test.read(ours)
				require.NoError(t, err)
				fields, _ := read.(map[string]any)
				back := layer.NewMessage(fields)
				require.True(t, msg.Equal(back), "seed %d, value %d: written here %.300v, read by Python as %.300v", seed, i, msg, back)
			}
		})
	}
}

// What only Python has is read as what it is nearest to, or refused as a whole:
// never changed in silence.
func TestSerializersReadWhatOnlyPythonHas(t *testing.T) {
	python := pypeer.Start(t)
	for _, test := range []struct {
		source        string
		msgpack, json any // what is read, or an error's text
	}{
		{"(1, 2)", []any{int64(1), int64(2)}, []any{int64(1), int64(2)}},
		{"2**63 - 1", int64(math.MaxInt64), int64(math.MaxInt64)},
		{"2**63", errText("outside int64"), errText("outside int64")},
		{"2**64 - 1", errText("outside int64"), errText("outside int64")},
		{"-2**63 - 1", nil, errText("outside int64")}, // packb fails
		{"10**1000", nil, errText("outside int64")},
		{`"\ud800"`, nil, errText("half a surrogate pair")}, // packb fails
		{"{1: 2}", errText("a key is not a string"), map[string]any{"1": int64(2)}},
		{"{b'a': 2}", map[string]any{"a": int64(2)}, nil}, // dumps fails
		{"{None: 2, True: 3}", errText("a key is not a string"), map[string]any{"null": int64(2), "true": int64(3)}},
		{"bytearray(b'x')", []byte("x"), nil},
		{"{1, 2}", nil, nil},
	} {
		for _, format := range []struct {
			name  string
			s     Serializer
			write func(any) ([]byte, error)
			want  any
		}{{"msgpack", MsgPack{}, python.Pack, test.msgpack}, {"JSON", JSON{}, python.DumpJSON, test.json}} {
			wire, err := format.write(map[string]any{"v": pypeer.Source(test.source)})
			if format.want == nil {
				require.Error(t, err, "%s of %s: Python wrote %q", format.name, test.source, wire)
				continue
			}
			require.NoError(t, err, "%s of %s", format.name, test.source)
			msg, _, err := format.s.Decode(wire)
			if text, ok := format.want.(errText); ok {
				require.ErrorIs(t, err, layer.ErrInvalidMessage, "%s of %s", format.name, test.source)
				require.ErrorContains(t, err, string(text), "%s of %s", format.name, test.source)
				continue
			}
			require.NoError(t, err, "%s of %s", format.name, test.source)
			got, _ := msg.Get("v")
			require.Equal(t, format.want, got, "%s of %s", format.name, test.source)
		}
	}
}

type errText string

// JSON that was damaged is refused here if Python refuses it, and otherwise
// read as the same, or refused for a reason that is documented.
func TestDamagedJSONAgainstPython(t *testing.T) {
	python := pypeer.Start(t)
	r := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 0))
	const alphabet = "{}[]:,\"\\ue+-.0195NaInfity \n\x00\x7fd8"
	accepted := 0
	for range 3000 {
		wire, err := JSON{}.Append(nil, layer.NewMessage(map[string]any{"type": "chat", "v": randomValue(r, 2, false)}), nil)
		require.NoError(t, err)
		for range 1 + r.IntN(2) {
			wire[r.IntN(len(wire))] = alphabet[r.IntN(len(alphabet))]
		}
		msg, _, err := JSON{}.Decode(wire)
		theirs, pyErr := python.LoadJSON(wire)
		fields, isObject := theirs.(map[string]any)
		switch {
		case err == nil:
			require.NoError(t, pyErr, "%q is read here as %v", wire, msg)
			require.True(t, msg.Equal(layer.NewMessage(fields)), "%q is read here as %v, by Python as %v", wire, msg, theirs)
			accepted++
		case pyErr == nil && isObject:
			text := err.Error()
			documented := strings.Contains(text, "outside int64") || strings.Contains(text, "surrogate")
			require.True(t, documented, "%q is read by Python as %v, and refused here: %v", wire, theirs, err)
		}
	}
	require.Greater(t, accepted, 100, "almost nothing was accepted: the test tests little")
}

// Tokens go both ways, and each side refuses what the other would.
func TestFernetAgainstPython(t *testing.T) {
	t.Parallel()
	python := pypeer.Start(t)
	f := newFernet([]string{"first", "second ключ"})
	for _, n := range []int{0, 1, 15, 16, 17, 100, 100_000} {
		plain := []byte(strings.Repeat("x", n))
		opened, err := python.Decrypt("first", f.seal(nil, plain), time.Minute)
		require.NoError(t, err)
		require.Equal(t, len(plain), len(opened))
		for _, key := range []string{"first", "second ключ"} {
			token, err := python.Encrypt(key, plain)
			require.NoError(t, err)
			opened, err := f.open(token, time.Minute)
			require.NoError(t, err, "key %q", key)
			require.True(t, string(plain) == string(opened), "key %q", key)
		}
	}
	if pypeer.HasSerializers() { // channels_redis encrypts with the first, and reads either
		keys := []string{"second ключ", "first"}
		msg := layer.NewMessage(map[string]any{"type": "x", "text": "é"})
		for name, format := range map[string]Serializer{"msgpack": MsgPack{}, "json": JSON{}} {
			body, err := format.Append(nil, msg, nil)
			require.NoError(t, err)
			got, err := python.Deserialize(name, keys, f.seal(nil, body))
			require.NoError(t, err, name)
			require.Equal(t, msg.Map(), got, name)
			token, err := python.Serialize(name, keys, msg.Map())
			require.NoError(t, err, name)
			opened, err := f.open(token, time.Minute)
			require.NoError(t, err, name)
			require.Equal(t, string(body), string(opened), name)
		}
	}
	token, err := python.Encrypt("third", []byte("x"))
	require.NoError(t, err)
	_, err = f.open(token, 0)
	require.ErrorIs(t, err, errWrongKey)
}
