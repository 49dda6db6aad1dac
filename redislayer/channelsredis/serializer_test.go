package channelsredis

import (
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/channellayer/channellayer/layer"
)

// byJSON is a format of the user's.
var byJSON = CustomSerializer{
	Marshal: func(fields map[string]any) ([]byte, error) { return json.Marshal(fields) },
	Unmarshal: func(b []byte) (fields map[string]any, err error) {
		err = json.Unmarshal(b, &fields)
		return fields, err
	},
}

func formats() map[string]Serializer {
	return map[string]Serializer{"msgpack": MsgPack{}, "JSON": JSON{}, "custom": byJSON}
}

func TestSerializersCarryAddresses(t *testing.T) {
	msg := layer.NewMessage(map[string]any{"type": "chat", "z": nil})
	long := strings.Repeat("x", 100)
	for name, s := range formats() {
		for _, test := range []struct {
			address any
			want    []string
		}{
			{nil, nil}, {"a!b", []string{"a!b"}}, {long, []string{long}}, {[]string{}, []string{}}, {[]string{"jobs"}, []string{"jobs"}},
			{[]string{long}, []string{long}}, {[]string{"a!b", "a!c", long}, []string{"a!b", "a!c", long}},
		} {
			wire, err := s.Append([]byte("before"), msg, test.address)
			require.NoError(t, err, "%s %v", name, test.address)
			require.Equal(t, "before", string(wire[:6]))
			got, address, err := s.Decode(wire[6:])
			require.NoError(t, err, "%s %v: %q", name, test.address, wire)
			require.Equal(t, test.want, address, "%s: %q", name, wire)
			require.True(t, msg.Equal(got), "%s: sent %v, got %v", name, msg, got)
		}
	}
}

func TestSerializersRefuse(t *testing.T) {
	bad := layer.NewMessage(map[string]any{"x": struct{}{}})
	good := layer.NewMessage(map[string]any{"type": "chat"})
	for name, s := range formats() {
		_, err := s.Append(nil, bad, nil)
		require.Equal(t, bad.Err(), err, name)
		dst, err := s.Append([]byte("before"), good, 7)
		require.ErrorContains(t, err, "an address is a string or []string, not int", name)
		require.Equal(t, "before", string(dst), name)
		for _, wire := range []string{"", "garbage", "\xff", "null", "[]", "1", `{"a": }`} {
			_, _, err := s.Decode([]byte(wire))
			require.ErrorIs(t, err, layer.ErrInvalidMessage, "%s of %q", name, wire)
		}
	}
	for _, wire := range []string{`{"__asgi_channel__": 1}`, `{"__asgi_channel__": ["a", 1]}`, `{"__asgi_channel__": null}`} {
		_, _, err := JSON{}.Decode([]byte(wire))
		require.ErrorContains(t, err, layer.ReservedKey, wire)
	}
	failing := CustomSerializer{Marshal: func(map[string]any) ([]byte, error) { return nil, errors.New("no such thing") }}
	_, err := failing.Append(nil, good, nil)
	require.ErrorIs(t, err, layer.ErrInvalidMessage)
	require.ErrorContains(t, err, "no such thing")
}

func TestJSONWrites(t *testing.T) {
	for _, test := range []struct {
		value any
		want  string
	}{
		{nil, "null"}, {true, "true"}, {-5, "-5"}, {int64(math.MinInt64), "-9223372036854775808"},
		{0.0, "0.0"}, {math.Copysign(0, -1), "-0.0"}, {1.5, "1.5"}, {1e15, "1000000000000000.0"}, {1e16, "1e+16"}, {1.25e22, "1.25e+22"},
		{0.0001, "0.0001"}, {0.00001, "1e-05"}, {math.NaN(), "NaN"}, {math.Inf(1), "Infinity"}, {math.Inf(-1), "-Infinity"},
		{"<a & b>", `"<a & b>"`}, {"\"\\/\b\f\n\r\t\x00\x1f\x7f", `"\"\\/\b\f\n\r\t\u0000\u001f\u007f"`},
		{"é\u2028😀", `"\u00e9\u2028\ud83d\ude00"`},
		{[]any{}, "[]"}, {[]any{1, []any{2}}, "[1, [2]]"}, {map[string]any{}, "{}"}, {map[string]any{"b": 1, "a": 2}, `{"a": 2, "b": 1}`},
	} {
		got, err := JSON{}.Append(nil, layer.NewMessage(map[string]any{"v": test.value}), nil)
		require.NoError(t, err)
		require.Equal(t, `{"v": `+test.want+"}", string(got))
	}
	_, err := JSON{}.Append(nil, layer.NewMessage(map[string]any{"a": map[string]any{"b": []any{1, []byte("x")}}}), nil)
	require.ErrorIs(t, err, layer.ErrInvalidMessage)
	require.ErrorIs(t, err, layer.ErrNotSent)
	require.EqualError(t, err, `serialize "a.b[1]": layer: invalid message: JSON has no bytes`)
}

func TestJSONReads(t *testing.T) {
	deep := strings.Repeat("[", layer.MaxDepth-1) + strings.Repeat("]", layer.MaxDepth-1)
	for _, test := range []struct {
		text string
		want any    // of the field v
		err  string // instead
	}{
		{text: ` { "v" : 1 } `, want: int64(1)},
		{text: "{\"v\":\t-0\r\n}", want: int64(0)},
		{text: `{"v": -0.0}`, want: math.Copysign(0, -1)},
		{text: `{"v": 1E5}`, want: 1e5},
		{text: `{"v": 1e-5}`, want: 1e-5},
		{text: `{"v": 1e400}`, want: math.Inf(1)},
		{text: `{"v": -1e400}`, want: math.Inf(-1)},
		{text: `{"v": Infinity}`, want: math.Inf(1)},
		{text: `{"v": -Infinity}`, want: math.Inf(-1)},
		{text: `{"v": 1, "v": 2}`, want: int64(2)},
		{text: `{"v": "\u00e9\ud83d\ude00\/é😀"}`, want: "é😀/é😀"},
		{text: `{"v": [{}, [], {"a": null}]}`, want: []any{map[string]any{}, []any{}, map[string]any{"a": nil}}},
		{text: `{"v": ` + deep + "}", want: nil},
		{text: `{"v": [` + deep + "]}", err: "nested deeper than 128"},
		{text: `{"v": 9223372036854775808}`, err: "integer 9223372036854775808 is outside int64"},
		{text: `{"v": -` + strings.Repeat("9", 1000) + `}`, err: "is outside int64"},
		{text: `{"v": "\ud800"}`, err: "half a surrogate pair"},
		{text: `{"v": "\ud800\ud800"}`, err: "half a surrogate pair"},
		{text: `{"v": "\udc00\ud800"}`, err: "half a surrogate pair"},
		{text: `{"v": "\ud800\n"}`, err: "half a surrogate pair"},
		{text: "{\"v\": \"\xff\"}", err: "not UTF-8"},
		{text: "{\"v\": \"\n\"}", err: "control character"},
		{text: `{"v": "\x"}`, err: "no such escape"},
		{text: `{"v": "\u12"}`, err: "hexadecimal"},
		{text: `{"v": "\u+123"}`, err: "hexadecimal"},
		{text: `{"v": "\u`, err: "it ends"},
		{text: `{"v": "\`, err: "it ends"},
		{text: `{"v": "a`, err: "it ends"},
		{text: `{"v": 01}`, err: "neither ',' nor '}'"},
		{text: `{"v": 1.}`, err: "neither"},
		{text: `{"v": 1e}`, err: "neither"},
		{text: `{"v": +1}`, err: "no value"},
		{text: `{"v": -}`, err: "no value"},
		{text: `{"v": .5}`, err: "no value"},
		{text: `{"v": nan}`, err: "no value"},
		{text: `{"v": [1,]}`, err: "no value"},
		{text: `{"v": 1,}`, err: "no key"},
		{text: `{v: 1}`, err: "no key"},
		{text: `{"v" 1}`, err: "no ':'"},
		{text: `{"v": 1} x`, err: "more after the object"},
		{text: "\ufeff{}", err: "no object"},
		{text: `{"v": [` + strings.Repeat("0,", layer.MaxValues) + `0]}`, err: "more than 100000 values"},
	} {
		msg, address, err := JSON{}.Decode([]byte(test.text))
		if test.err != "" {
			require.ErrorIs(t, err, layer.ErrInvalidMessage, "%.100s", test.text)
			require.ErrorContains(t, err, test.err, "%.100s", test.text)
			continue
		}
		require.NoError(t, err, "%.100s", test.text)
		require.Nil(t, address)
		got, _ := msg.Get("v")
		if test.want != nil {
			require.Equal(t, test.want, got, "%.100s", test.text)
		}
	}
}

// FuzzJSON checks that what is read is written and read again as the same.
func FuzzJSON(f *testing.F) {
	f.Add([]byte(`{"v": [1, -0.5e3, "\u00e9\ud83d\ude00", NaN, -Infinity, {"a": null, "b": true}]}`))
	f.Add([]byte(`{"__asgi_channel__": ["a", "b"], "type": "x"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		msg, address, err := JSON{}.Decode(b)
		if err != nil {
			if !errors.Is(err, layer.ErrInvalidMessage) {
				t.Fatalf("%q: error %v does not match ErrInvalidMessage", b, err)
			}
			return
		}
		var to any
		if address != nil {
			to = address
		}
		wire, err := JSON{}.Append(nil, msg, to)
		if err != nil {
			t.Fatalf("%q was read as %v, which is not written: %v", b, msg, err)
		}
		again, sameAddress, err := JSON{}.Decode(wire)
		if err != nil || !again.Equal(msg) || strings.Join(sameAddress, " ") != strings.Join(address, " ") {
			t.Fatalf("%q was read as %v, written as %q, and read as %v, %v", b, msg, wire, again, err)
		}
	})
}

// A string that is no UTF-8 has no meaning in JSON, but costs no panic.
func TestJSONStringThatIsNoUTF8(t *testing.T) {
	for text, want := range map[string]string{
		"\xff":           `"\ufffd"`,
		"a\xffb":         `"a\ufffdb"`,
		"\xe2\x82":       `"\ufffd\ufffd"`,
		"\u20ac\xff\xff": `"\u20ac\ufffd\ufffd"`,
		"\ufffd!":        `"\ufffd!"`,
	} {
		require.Equal(t, want, string(appendJSONString(nil, text)), "%q", text)
	}
}
