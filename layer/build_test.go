package layer_test

import (
	"encoding/json"
	"fmt"
	"math"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/channellayer/channellayer/layer"
)

type (
	myBool   bool
	myInt    int16
	myUint   uint16
	myFloat  float32
	myString string
	myByte   byte
	myBytes  []myByte
	myKey    string
	myMap    map[myKey]myInt
	endless  []endless
)

func TestAcceptedKinds(t *testing.T) {
	for name, test := range map[string]struct{ in, want any }{
		"nil":               {nil, nil},
		"bool":              {true, true},
		"int":               {int(-1), int64(-1)},
		"int8":              {int8(-8), int64(-8)},
		"int16":             {int16(-16), int64(-16)},
		"int32":             {int32(-32), int64(-32)},
		"int64":             {int64(math.MinInt64), int64(math.MinInt64)},
		"uint":              {uint(1), int64(1)},
		"uint8":             {uint8(8), int64(8)},
		"uint16":            {uint16(16), int64(16)},
		"uint32":            {uint32(32), int64(32)},
		"uint64":            {uint64(math.MaxInt64), int64(math.MaxInt64)},
		"uintptr":           {uintptr(1), int64(1)},
		"float32":           {float32(0.5), 0.5},
		"float64":           {0.1, 0.1},
		"infinity":          {math.Inf(1), math.Inf(1)},
		"string":            {"é", "é"},
		"bytes":             {[]byte{1, 255}, []byte{1, 255}},
		"nil bytes":         {[]byte(nil), []byte{}},
		"array of bytes":    {[2]byte{1, 2}, []byte{1, 2}},
		"named bytes":       {myBytes{1, 2}, []byte{1, 2}},
		"named byte array":  {[1]myByte{3}, []byte{3}},
		"nil named bytes":   {myBytes(nil), []byte{}},
		"list":              {[]any{1, nil}, []any{int64(1), nil}},
		"nil list":          {[]any(nil), []any{}},
		"strings":           {[]string{"a"}, []any{"a"}},
		"nil strings":       {[]string(nil), []any{}},
		"array":             {[2]int{1, 2}, []any{int64(1), int64(2)}},
		"empty array":       {[0]int{}, []any{}},
		"map":               {map[string]any{"a": 1}, map[string]any{"a": int64(1)}},
		"nil map":           {map[string]any(nil), map[string]any{}},
		"map of ints":       {map[string]int{"a": 1}, map[string]any{"a": int64(1)}},
		"nil map of ints":   {map[string]int(nil), map[string]any{}},
		"named map":         {myMap{"k": 3}, map[string]any{"k": int64(3)}},
		"map of nil slices": {map[string][]byte{"a": nil}, map[string]any{"a": []byte{}}},
		"named bool":        {myBool(true), true},
		"named int":         {myInt(-2), int64(-2)},
		"named uint":        {myUint(2), int64(2)},
		"named float":       {myFloat(0.5), 0.5},
		"named string":      {myString("s"), "s"},
		"duration":          {time.Second, int64(time.Second)},
		"json.Number":       {[]json.Number{"1", "1.0"}, []any{int64(1), 1.0}},
		"empty endless":     {endless{nil, {}}, []any{[]any{}, []any{}}},
	} {
		t.Run(name, func(t *testing.T) {
			m := layer.NewMessage(map[string]any{"v": test.in})
			require.NoError(t, m.Err())
			got, ok := m.Get("v")
			require.True(t, ok)
			require.Equal(t, test.want, got, "sent %T %#v", test.in, test.in)
		})
	}
	got := layer.NewMessage(map[string]any{"v": math.NaN()}).Float("v")
	require.True(t, math.IsNaN(got), "NaN arrives as %v", got)
}

func TestRefusedValues(t *testing.T) {
	n := 1
	cycle := map[string]any{}
	cycle["again"] = cycle
	in := func(key string, v any) map[string]any { return map[string]any{key: v} }
	for name, test := range map[string]struct {
		fields map[string]any
		want   string
	}{
		"struct":           {in("user", in("joined", time.Time{})), `message "user.joined": layer: invalid message: time.Time`},
		"pointer":          {in("p", &n), `message "p": layer: invalid message: *int`},
		"nil pointer":      {in("p", (*int)(nil)), `message "p": layer: invalid message: *int`},
		"channel":          {in("c", make(chan int)), `message "c": layer: invalid message: chan int`},
		"func":             {in("f", func() {}), `message "f": layer: invalid message: func()`},
		"complex":          {in("c", 1i), `message "c": layer: invalid message: complex128`},
		"error":            {in("e", layer.ErrClosed), `message "e": layer: invalid message: *errors.errorString`},
		"message":          {in("m", layer.Message{}), `message "m": layer: invalid message: layer.Message`},
		"int keys":         {in("m", map[int]any{1: 2}), `message "m": layer: invalid message: map[int]interface {}`},
		"any keys":         {in("m", map[any]any{}), `message "m": layer: invalid message: map[interface {}]interface {}`},
		"uint64":           {in("n", uint64(1<<63)), `message "n": layer: invalid message: integer 9223372036854775808 is outside int64`},
		"json.Number":      {in("n", json.Number("x")), `message "n": layer: invalid message: number "x" is not an int64`},
		"in a list":        {in("l", []any{1, []any{2, struct{}{}}}), `message "l[1][1]": layer: invalid message: struct {}`},
		"in a typed list":  {in("l", []uint64{1, math.MaxUint64}), `message "l[1]": layer: invalid message: integer 18446744073709551615 is outside int64`},
		"in a typed map":   {in("m", map[string]error{"e": layer.ErrClosed}), `message "m.e": layer: invalid message: *errors.errorString`},
		"string not UTF-8": {in("s", "a\xff"), `message "s": layer: invalid message: string "a\xff" is not UTF-8`},
		"key not UTF-8":    {in("m", in("\xff", 1)), `message "m": layer: invalid message: key "\xff" is not UTF-8`},
		"typed keys":       {in("m", map[myKey]int{"\xff": 1}), `message "m": layer: invalid message: key "\xff" is not UTF-8`},
		"top key":          {in("\xff", 1), `message: layer: invalid message: key "\xff" is not UTF-8`},
		"reserved":         {in(layer.ReservedKey, 1), `message "__asgi_channel__": layer: invalid message: the key is reserved`},
		"cycle":            {cycle, `layer: invalid message: nested deeper than 128`},
	} {
		t.Run(name, func(t *testing.T) {
			m := layer.NewMessage(test.fields)
			require.ErrorIs(t, m.Err(), layer.ErrInvalidMessage)
			require.ErrorIs(t, m.Err(), layer.ErrNotSent)
			if name == "cycle" {
				require.ErrorContains(t, m.Err(), `message "again.again.again`)
				require.ErrorContains(t, m.Err(), test.want)
			} else {
				require.EqualError(t, m.Err(), test.want)
			}
			require.Zero(t, m.Len(), "it reads as empty")
			require.Zero(t, m.Size())
			require.Equal(t, map[string]any{}, m.Map())
			_, err := m.JSON()
			require.Equal(t, m.Err(), err)
		})
	}
}

func TestReservedKeyOnlyMattersAtTheTop(t *testing.T) {
	m := layer.NewMessage(map[string]any{"inner": map[string]any{layer.ReservedKey: 1}})
	require.NoError(t, m.Err())
}

// nested returns a value in n slices.
func nested(n int) any {
	var v any
	for range n {
		v = []any{v}
	}
	return v
}

func TestDepth(t *testing.T) {
	require.NoError(t, layer.NewMessage(map[string]any{"v": nested(layer.MaxDepth - 1)}).Err())
	err := layer.NewMessage(map[string]any{"v": nested(layer.MaxDepth)}).Err()
	require.ErrorIs(t, err, layer.ErrInvalidMessage)
	require.ErrorContains(t, err, "nested deeper than 128")

	e := endless{nil}
	e[0] = e
	require.ErrorContains(t, layer.NewMessage(map[string]any{"v": e}).Err(), "nested deeper than 128")
}

func TestNumberOfValues(t *testing.T) {
	for name, ok := range map[string]map[string]any{
		"a list":      {"v": make([]any, layer.MaxValues-1)},
		"ints":        {"v": make([]int, layer.MaxValues-1)},
		"two lists":   {"a": make([]any, layer.MaxValues/2-1), "b": make([]any, layer.MaxValues/2-1)},
		"many fields": manyFields(layer.MaxValues),
	} {
		require.NoError(t, layer.NewMessage(ok).Err(), name)
		ok["one more"] = nil
		err := layer.NewMessage(ok).Err()
		require.ErrorIs(t, err, layer.ErrInvalidMessage, name)
		require.ErrorContains(t, err, "more than 100000 values", name)
	}
	require.NoError(t, layer.NewMessage(map[string]any{"v": make([]byte, layer.MaxValues+1)}).Err(), "bytes are one value")
}

func manyFields(n int) map[string]any {
	m := make(map[string]any, n)
	for i := range n {
		m[fmt.Sprint(i)] = nil
	}
	return m
}

func TestWhatWouldGrowIsRefusedEarly(t *testing.T) {
	var doubling any = "x"
	for range 100 {
		doubling = []any{doubling, doubling}
	}
	wide := make([]any, layer.MaxValues/2)
	wide[0] = wide
	deep := map[string]any{"b": []any{wide}}
	large := strings.Repeat("x", 1<<24)
	for name, v := range map[string]any{"doubling": doubling, "wide": wide, "deep": deep} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		err := layer.NewMessage(map[string]any{"v": v}).Err()
		runtime.ReadMemStats(&after)
		require.ErrorIs(t, err, layer.ErrInvalidMessage, name)
		require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(16<<20), "%s: bytes allocated", name)
	}
	err := layer.NewMessage(map[string]any{"v": slicesOf(large, 100)}).Err()
	require.ErrorIs(t, err, layer.ErrMessageTooLarge)
	require.EqualError(t, err, `message "v[63]": layer: message too large: more than 1073741824 bytes`)
}

func slicesOf(v any, n int) []any {
	out := make([]any, n)
	for i := range out {
		out[i] = v
	}
	return out
}

func TestHostileKeysDoNotFillTheError(t *testing.T) {
	var v any = struct{}{}
	for range 100 {
		v = map[string]any{strings.Repeat("k", 1<<20): v}
	}
	text := layer.NewMessage(map[string]any{"v": v}).Err().Error()
	require.Less(t, len(text), 1000, text)
}
