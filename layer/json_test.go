package layer_test

import (
	"bytes"
	"encoding/json"
	"math"
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/channellayer/channellayer/layer"
)

func TestJSONText(t *testing.T) {
	for name, test := range map[string]struct {
		in   any
		want string
	}{
		"nil":            {nil, `null`},
		"bool":           {false, `false`},
		"int":            {math.MinInt64, `-9223372036854775808`},
		"whole float":    {2.0, `2.0`},
		"large float":    {1e20, `100000000000000000000.0`},
		"huge float":     {1e21, `1e+21`},
		"small float":    {1e-7, `1e-07`},
		"minus zero":     {math.Copysign(0, -1), `-0.0`},
		"largest float":  {math.MaxFloat64, `1.7976931348623157e+308`},
		"bytes":          {[]byte{0, 255, 254}, `"AP/+"`},
		"no bytes":       {[]byte{}, `""`},
		"HTML":           {"<a href='x'>&</a>", `"\u003ca href='x'\u003e\u0026\u003c/a\u003e"`},
		"quotes":         {`"\`, `"\"\\"`},
		"control":        {"\n\r\t\x00\x1f\x7f", `"\n\r\t\u0000\u001f` + "\x7f" + `"`},
		"JavaScript":     {"a\u2028\u2029b", `"a\u2028\u2029b"`},
		"beyond ASCII":   {"é😀\ufffd", `"é😀` + "\ufffd" + `"`},
		"list":           {[]any{1, "a", []any{}}, `[1,"a",[]]`},
		"map":            {map[string]any{"b": 1, "a": map[string]any{}}, `{"a":{},"b":1}`},
		"key to escape":  {map[string]any{"<\n": 1}, `{"\u003c\n":1}`},
		"text in a list": {[]string{"a", "b"}, `["a","b"]`},
	} {
		got, err := layer.NewMessage(map[string]any{"v": test.in}).JSON()
		require.NoError(t, err, name)
		require.Equal(t, `{"v":`+test.want+`}`, string(got), name)
	}
}

func TestJSONAgreesWithEncodingJSON(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := fields(true).Draw(t, "fields")
		ours, err := layer.NewMessage(in).JSON()
		require.NoError(t, err)
		var got, want any
		require.NoError(t, json.Unmarshal(ours, &got), "not JSON: %s", ours)
		theirs, err := json.Marshal(in)
		require.NoError(t, err)
		require.NoError(t, json.Unmarshal(theirs, &want))
		require.Equal(t, want, got, "ours %s, theirs %s", ours, theirs)
		require.False(t, bytes.ContainsAny(ours, "<>&"), "%s", ours)
		require.False(t, bytes.ContainsAny(ours, "\u2028\u2029"), "%s", ours)
	})
}

func TestJSONRoundTripKeepsTypes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := layer.NewMessage(fields(true).Draw(t, "fields"))
		j, err := in.JSON()
		require.NoError(t, err)
		out, err := layer.ParseJSON(j)
		require.NoError(t, err)
		require.True(t, in.Equal(out), "sent %v as %s, got %v", in, j, out)
	})
}

func TestJSONRefusesWhatItHasNot(t *testing.T) {
	for _, f := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
		m := layer.NewMessage(map[string]any{"a": []any{1, map[string]any{"x": f}}})
		for range 2 {
			_, err := m.JSON()
			require.ErrorIs(t, err, layer.ErrInvalidMessage)
			require.ErrorContains(t, err, `message "a[1].x": layer: invalid message: JSON has no `)
		}
		_, err := json.Marshal(m)
		require.ErrorIs(t, err, layer.ErrInvalidMessage)
	}
}

func TestParseJSONTypes(t *testing.T) {
	for text, want := range map[string]any{
		`null`:                   nil,
		`true`:                   true,
		`0`:                      int64(0),
		`-0`:                     int64(0),
		`-9223372036854775808`:   int64(math.MinInt64),
		`9223372036854775807`:    int64(math.MaxInt64),
		`1.0`:                    1.0,
		`1e2`:                    100.0,
		`1E2`:                    100.0,
		`1e-999`:                 0.0,
		`""`:                     "",
		`"\u00e9\ud83d\ude00"`:   "é😀",
		`"\ud800"`:               "\ufffd", // half a surrogate pair, as encoding/json has it
		`[]`:                     []any{},
		`{}`:                     map[string]any{},
		`{"a":1,"a":"2","b":[]}`: map[string]any{"a": "2", "b": []any{}},
		`{"a":[1],"b":1,"a":[]}`: map[string]any{"a": []any{}, "b": int64(1)},
		" [ 1 , 2.5 ]\n":         []any{int64(1), 2.5},
	} {
		m, err := layer.ParseJSON([]byte(` {"v":` + text + `} `))
		require.NoError(t, err, text)
		got, ok := m.Get("v")
		require.True(t, ok, text)
		require.Equal(t, want, got, text)
		require.Equal(t, layer.NewMessage(m.Map()).Size(), m.Size(), "size of %s", text)
	}
}

func TestParseJSONRefuses(t *testing.T) {
	deep := strings.Repeat(`[`, 1000) + strings.Repeat(`]`, 1000)
	deeper := strings.Repeat(`[`, 100_000) + strings.Repeat(`]`, 100_000)
	for text, want := range map[string]string{
		``:                          `message: layer: invalid message: JSON is not an object`,
		`null`:                      `message: layer: invalid message: JSON is not an object`,
		`[]`:                        `message: layer: invalid message: JSON is not an object`,
		`"a"`:                       `message: layer: invalid message: JSON is not an object`,
		"\ufeff{}":                  `message: layer: invalid message: JSON is not an object`,
		`{`:                         `message: layer: invalid message: JSON: unexpected EOF`,
		`{"a"`:                      `JSON: unexpected EOF`,
		`{"a":`:                     `JSON: unexpected EOF`,
		`{"a":"\`:                   `JSON: unexpected EOF`,
		`{"a":1,}`:                  `JSON: invalid character '}' `,
		`{"a":1 "b":2}`:             `JSON: invalid character '"' `,
		`{"a":[1 2]}`:               `JSON: invalid character '2' `,
		`{"a":[1,]}`:                `JSON: invalid character ']' `,
		`{"a":[,1]}`:                `JSON: invalid character ',' `,
		`{"a":[1}`:                  `JSON: invalid character '}' `,
		`{"a":1]`:                   `JSON: invalid character ']' `,
		`{1:2}`:                     `JSON: invalid character '1' `,
		`{"a":01}`:                  `JSON: invalid character '1' `,
		`{"a":NaN}`:                 `JSON: invalid character 'N' `,
		`{"a":"` + "\n" + `"}`:      `JSON: invalid character '\n' `,
		`{} {}`:                     `message: layer: invalid message: JSON goes on after the object, at byte 2`,
		`{}]`:                       `message: layer: invalid message: JSON goes on after the object, at byte 2`,
		`{},`:                       `message: layer: invalid message: JSON goes on after the object, at byte 2`,
		`{}` + "\x00":               `message: layer: invalid message: JSON goes on after the object, at byte 2`,
		"{\"a\":\"\xff\"}":          `message: layer: invalid message: JSON is not UTF-8`,
		"{}\xff":                    `message: layer: invalid message: JSON is not UTF-8`,
		`{"a":9223372036854775808}`: `message "a": layer: invalid message: number "9223372036854775808" is not an int64`,
		`{"a":{"b":[1e999]}}`:       `message "a.b[0]": layer: invalid message: number "1e999" is not a float64`,
		`{"__asgi_channel__":"x"}`:  `message "__asgi_channel__": layer: invalid message: the key is reserved`,
		`{"a":` + deep + `}`:        `message "a[0][0][0]`,
		`{"a":1,"b":` + deep + `}`:  `nested deeper than 128`,
		`{"a":` + deeper + `}`:      `exceeded max depth`,
		`{"a":[` + strings.Repeat(`1,`, layer.MaxValues-1) + `1]}`:    `message "a": layer: invalid message: more than 100000 values`,
		`{"a":[` + strings.Repeat(`[],`, layer.MaxValues-2) + `[1]]}`: `more than 100000 values`,
		`{"a":[` + strings.Repeat(`1,`, 2*layer.MaxValues):            `message: layer: invalid message: more than 100000 values`,
		strings.Repeat(`{"a":`, 2*layer.MaxValues+1):                  `message: layer: invalid message: more than 100000 values`,
		`{"a":1` + strings.Repeat(`,"a":1`, 2*layer.MaxValues):        `message: layer: invalid message: more than 100000 values`,
		`{"a":` + strings.Repeat(`9`, 1<<20) + `}`:                    `number "` + strings.Repeat("9", 40) + `" is not an int64`,
		`{"a":` + strings.Repeat(`9`, 1<<20) + `e999}`:                `" is not a float64`,
	} {
		shown := text[:min(len(text), 60)]
		m, err := layer.ParseJSON([]byte(text))
		require.ErrorIs(t, err, layer.ErrInvalidMessage, shown)
		require.Equal(t, m.Err(), err, shown)
		require.ErrorContains(t, err, want, shown)
		require.Less(t, len(err.Error()), 1000, shown)
	}
}

func TestParseJSONAtTheBounds(t *testing.T) {
	for _, text := range []string{
		`{"a":` + strings.Repeat(`[`, layer.MaxDepth-1) + strings.Repeat(`]`, layer.MaxDepth-1) + `}`,
		`{"a":[` + strings.Repeat(`1,`, layer.MaxValues-2) + `1]}`,
		`{"a":[` + strings.Repeat(`[],`, layer.MaxValues-2) + `[]]}`,
		`{"a":"` + strings.Repeat(`,[{\"`, layer.MaxValues) + `"}`,
		`{"a":{"__asgi_channel__":1}}`,
	} {
		_, err := layer.ParseJSON([]byte(text))
		require.NoError(t, err, text[:20])
	}
}

func TestMessagesInsideOtherJSON(t *testing.T) {
	type envelope struct {
		Payload layer.Message
		More    *layer.Message
	}
	var e envelope
	require.NoError(t, json.Unmarshal([]byte(`{"Payload":{"n":1},"More":{"f":1.0}}`), &e))
	require.Equal(t, int64(1), e.Payload.Int("n"))
	b, err := json.Marshal(e)
	require.NoError(t, err)
	require.Equal(t, `{"Payload":{"n":1},"More":{"f":1.0}}`, string(b))

	shared := e.Payload
	require.NoError(t, json.Unmarshal([]byte(`{"Payload":null,"More":null}`), &e))
	require.Equal(t, int64(1), e.Payload.Int("n"), "null changes nothing")
	require.Nil(t, e.More)
	require.NoError(t, json.Unmarshal([]byte(`{"Payload":{"n":2}}`), &e))
	require.Equal(t, int64(1), shared.Int("n"), "a copy made before is not affected")
	require.ErrorIs(t, json.Unmarshal([]byte(`{"Payload":{"n":9223372036854775808}}`), &e), layer.ErrInvalidMessage)
	require.Equal(t, int64(2), e.Payload.Int("n"), "an error changes nothing")
}

func FuzzParseJSON(f *testing.F) {
	for _, seed := range []string{`{"type":"chat","n":1,"f":1.0,"l":[null,true,"<\u00e9\ud800>"],"m":{"a":1,"a":2}}`, `{"a":1e400}`, `{"a":[1 2]}`, ``, `{}{}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := layer.ParseJSON(data)
		if err != nil {
			if m.Len() != 0 || m.Err() == nil {
				t.Fatalf("%q gives both %v and %v", data, m, err)
			}
			return
		}
		var want map[string]any
		if err := json.Unmarshal(data, &want); err != nil || want == nil {
			t.Fatalf("%q is taken, and encoding/json says %v", data, err)
		}
		if again := layer.NewMessage(m.Map()); !again.Equal(m) || again.Size() != m.Size() {
			t.Fatalf("%q: %v of %d bytes becomes %v of %d bytes", data, m, m.Size(), again, again.Size())
		}
		text, err := m.JSON()
		if err != nil {
			t.Fatalf("%q: %v", data, err)
		}
		if again, err := layer.ParseJSON(text); err != nil || !again.Equal(m) {
			t.Fatalf("%q as %q becomes %v, %v; want %v", data, text, again, err, m)
		}
		var got map[string]any
		if err := json.Unmarshal(text, &got); err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("%q as %q is %v, want %v (%v)", data, text, got, want, err)
		}
	})
}
