package layer_test

import (
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/channellayer/channellayer/layer"
)

func everyKind() map[string]any {
	return map[string]any{
		"type": "chat.message", "nil": nil, "true": true, "int": 7, "float": 1.5, "whole": 2.0, "bytes": []byte("abc"),
		"list": []any{int64(1), []byte("x"), map[string]any{"k": "v"}}, "map": map[string]any{"inner": []any{"a"}},
	}
}

func TestAccessors(t *testing.T) {
	m := layer.NewMessage(everyKind())
	require.NoError(t, m.Err())
	require.Equal(t, 9, m.Len())
	require.Equal(t, "chat.message", m.Type())
	require.Equal(t, int64(7), m.Int("int"))
	require.Equal(t, 1.5, m.Float("float"))
	require.Equal(t, 7.0, m.Float("int"), "Float takes integers")
	require.True(t, m.Bool("true"))
	require.Equal(t, []byte("abc"), m.Bytes("bytes"))

	v, ok := m.Get("nil")
	require.Nil(t, v)
	require.True(t, ok, "a nil field is there")
	require.True(t, m.Has("nil"))
	v, ok = m.Get("absent")
	require.Nil(t, v)
	require.False(t, ok)

	for _, key := range []string{"absent", "nil", "list", "map"} {
		require.Zero(t, m.String(key), key)
		require.Zero(t, m.Int(key), key)
		require.Zero(t, m.Float(key), key)
		require.False(t, m.Bool(key), key)
		require.Nil(t, m.Bytes(key), key)
	}
	require.Zero(t, m.Int("float"), "Int takes no floats")
	require.Zero(t, m.Int("whole"), "Int takes no floats, whole or not")
	require.Empty(t, m.String("bytes"))
	require.Nil(t, m.Bytes("type"))
}

func TestAccessorsFindEachOfManyFields(t *testing.T) {
	for n := range 40 {
		in := map[string]any{}
		for i := range n {
			in[fmt.Sprintf("k%d", i)] = i
		}
		m := layer.NewMessage(in)
		for i := range n {
			require.Equal(t, int64(i), m.Int(fmt.Sprintf("k%d", i)), "field k%d of %d", i, n)
		}
		for _, absent := range []string{"", "a", "k", "k1x", "z"} {
			require.False(t, m.Has(absent), "%q is none of %d fields", absent, n)
		}
	}
}

func TestZeroAndEmptyMessages(t *testing.T) {
	var zero layer.Message
	for name, m := range map[string]layer.Message{"zero": zero, "nil map": layer.NewMessage(nil), "empty map": layer.NewMessage(map[string]any{})} {
		require.NoError(t, m.Err(), name)
		require.Equal(t, 1, m.Size(), name)
		require.Zero(t, m.Len(), name)
		require.Equal(t, map[string]any{}, m.Map(), name)
		require.True(t, m.Equal(zero) && zero.Equal(m), name)
		j, err := m.JSON()
		require.NoError(t, err, name)
		require.Equal(t, "{}", string(j), name)
		for range m.All() {
			t.Fatalf("%s: All yields a field", name)
		}
	}
}

func TestInputsMayChangeAfterwards(t *testing.T) {
	in := everyKind()
	m := layer.NewMessage(in)
	before := layer.NewMessage(everyKind())
	in["bytes"].([]byte)[0] = 'X'
	in["list"].([]any)[0] = "X"
	in["list"].([]any)[1].([]byte)[0] = 'X'
	in["list"].([]any)[2].(map[string]any)["k"] = "X"
	in["map"].(map[string]any)["inner"].([]any)[0] = "X"
	delete(in, "int")
	require.True(t, m.Equal(before), "after its inputs changed the message is %v, want %v", m, before)
}

func TestTypedInputsMayChangeAfterwards(t *testing.T) {
	type raw []byte
	bytes, ints, maps := raw("abc"), []int{1, 2}, map[string][]string{"k": {"v"}}
	m := layer.NewMessage(map[string]any{"bytes": bytes, "ints": ints, "maps": maps})
	bytes[0], ints[0], maps["k"][0] = 'X', 9, "X"
	require.Equal(t, map[string]any{
		"bytes": []byte("abc"), "ints": []any{int64(1), int64(2)}, "maps": map[string]any{"k": []any{"v"}},
	}, m.Map())
}

func TestWhatAccessorsReturnMayChange(t *testing.T) {
	m := layer.NewMessage(everyKind())
	spoil := func(v any) {
		switch v := v.(type) {
		case []byte:
			v[0] = 'X'
		case []any:
			v[0] = "X"
			if len(v) == 3 {
				v[1].([]byte)[0] = 'X'
				v[2].(map[string]any)["k"] = "X"
			}
		case map[string]any:
			v["inner"].([]any)[0] = "X"
			v["more"] = "X"
		}
	}
	m.Bytes("bytes")[0] = 'X'
	for key, v := range m.All() {
		spoil(v)
		v, _ = m.Get(key)
		spoil(v)
		spoil(m.Map()[key])
		var decoded map[string]any
		require.NoError(t, m.Decode(&decoded))
		spoil(decoded[key])
	}
	var s struct {
		Bytes []byte
		List  []any
		Map   map[string][]any
	}
	require.NoError(t, m.Decode(&s))
	s.Bytes[0], s.List[0], s.Map["inner"][0] = 'X', "X", "X"
	j, err := m.MarshalJSON()
	require.NoError(t, err)
	clear(j)
	require.True(t, m.Equal(layer.NewMessage(everyKind())), "the message changed: %v", m)
	again, err := m.JSON()
	require.NoError(t, err)
	require.Contains(t, string(again), `"bytes":"YWJj"`)
}

func TestAllIsInOrderAndStops(t *testing.T) {
	var keys []string
	for key := range layer.NewMessage(map[string]any{"b": 1, "a": 2, "c": 3}).All() {
		keys = append(keys, key)
		if key == "b" {
			break
		}
	}
	require.Equal(t, []string{"a", "b"}, keys)
}

func TestMapAndEqualAgreeWithTheInput(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := fields(true).Draw(t, "fields")
		m := layer.NewMessage(in)
		require.NoError(t, m.Err())
		require.Equal(t, in, m.Map())
		require.True(t, m.Equal(layer.NewMessage(m.Map())))
		changed := m.Map()
		changed["one more"] = true
		require.False(t, m.Equal(layer.NewMessage(changed)))
	})
}

func TestEqual(t *testing.T) {
	values := []any{nil, false, 0, 0.5, 1.0, int64(1), "", "1", []byte(""), []byte("1"), []any{}, []any{1}, []any{1.0}, map[string]any{}, map[string]any{"a": 1}, map[string]any{"b": 1}, math.NaN()}
	for i, a := range values {
		for j, b := range values {
			got := layer.NewMessage(map[string]any{"v": a}).Equal(layer.NewMessage(map[string]any{"v": b}))
			require.Equal(t, i == j, got, "%#v equals %#v", a, b)
		}
	}
	bad := layer.NewMessage(map[string]any{"v": struct{}{}})
	require.False(t, bad.Equal(bad), "an invalid message equals none")
	require.False(t, bad.Equal(layer.Message{}))
	require.False(t, layer.Message{}.Equal(bad))
}

func TestFormat(t *testing.T) {
	m := layer.NewMessage(map[string]any{
		"type": "chat", "n": 1, "f": 1.0, "nan": math.NaN(), "inf": math.Inf(-1), "nil": nil, "yes": true, "b": []byte("a\x00"),
		"l": []any{1, 2.5, "x"}, "m": map[string]any{"k": []any{}}, "new\nline": 1, "": 2,
	})
	want := `message{"": 2, b: []byte("a\x00"), f: 1.0, inf: -Inf, l: [1, 2.5, "x"], m: {k: []}, n: 1, nan: NaN, "new\nline": 1, nil: <nil>, type: "chat", yes: true}`
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%d"} {
		require.Equal(t, want, fmt.Sprintf(verb, m), verb)
	}
	require.Equal(t, "message{}", fmt.Sprint(layer.Message{}))
	require.Equal(t, `message(message "v": layer: invalid message: struct {})`, fmt.Sprint(layer.NewMessage(map[string]any{"v": struct{}{}})))
}
