package layer_test

import (
	"errors"
	"math"
	"math/big"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/channellayer/channellayer/layer"
)

type (
	base struct {
		ID     int64 `json:"id"`
		Shadow string
	}
	Extra  struct{ Note string }
	hidden struct{ Lost string }
	Named  struct{ Inner string }
	event  struct {
		base
		*Extra
		*hidden
		Named   `json:"named"`
		Type    string `json:"type,omitempty"`
		Shadow  string
		Skipped string `json:"-"`
		private string
		Created time.Time
		Next    *event
		Any     any
	}
)

func TestDecodeStruct(t *testing.T) {
	m := layer.NewMessage(map[string]any{
		"id": 7, "type": "order", "SHADOW": "outer", "Note": "n", "Lost": "x", "named": map[string]any{"inner": "i"},
		"Skipped": "x", "private": "x", "created": "2026-01-02T03:04:05Z", "unknown": []any{1},
		"next": map[string]any{"type": "second", "next": nil}, "any": []any{1, []byte("b"), nil},
	})
	got := event{Skipped: "stays"}
	require.NoError(t, m.Decode(&got))
	want := event{
		base: base{ID: 7}, Extra: &Extra{"n"}, Named: Named{"i"}, Type: "order", Shadow: "outer", Skipped: "stays",
		Created: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Next: &event{Type: "second"}, Any: []any{int64(1), []byte("b"), nil},
	}
	require.Equal(t, want, got)
	require.Empty(t, got.private)
}

func TestDecodeNames(t *testing.T) {
	type names struct {
		Exact string `json:"user"`
		Upper string `json:"USER"`
		Plain string
	}
	for name, test := range map[string]struct {
		in   map[string]any
		want names
	}{
		"each its own":         {map[string]any{"user": "u", "USER": "U", "Plain": "p"}, names{"u", "U", "p"}},
		"not another's":        {map[string]any{"USER": "U"}, names{"", "U", ""}},
		"in any case":          {map[string]any{"plain": "p"}, names{"", "", "p"}},
		"exact before similar": {map[string]any{"PLAIN": "a", "Plain": "b", "plain": "c"}, names{"", "", "b"}},
	} {
		var got names
		require.NoError(t, layer.NewMessage(test.in).Decode(&got), name)
		require.Equal(t, test.want, got, name)
	}
}

type (
	Left  struct{ X, Y string }
	Right struct {
		X string
		Z string `json:"Y"`
	}
	Loop struct {
		*Loop
		V int
	}
)

func TestDecodeEmbedded(t *testing.T) {
	var both struct {
		Left
		Right
	}
	require.NoError(t, layer.NewMessage(map[string]any{"X": "x", "Y": "y"}).Decode(&both))
	require.Equal(t, Left{}, both.Left, "X is ambiguous, Y goes to the field with a tag")
	require.Equal(t, Right{Z: "y"}, both.Right)

	var loop Loop
	require.NoError(t, layer.NewMessage(map[string]any{"V": 1}).Decode(&loop))
	require.Equal(t, Loop{V: 1}, loop)

	var none struct{ *Extra }
	require.NoError(t, layer.NewMessage(map[string]any{"other": 1}).Decode(&none))
	require.Nil(t, none.Extra, "nothing to store, nothing made")
}

func TestDecodeValues(t *testing.T) {
	for name, check := range map[string]func(t *testing.T){
		"bool":               fits(true, true),
		"named bool":         fits(true, myBool(true)),
		"string":             fits("é", "é"),
		"named string":       fits("s", myString("s")),
		"int":                fits(-1, -1),
		"int8":               fits(-128, int8(-128)),
		"int64":              fits(math.MinInt64, int64(math.MinInt64)),
		"uint8":              fits(255, uint8(255)),
		"uint64":             fits(math.MaxInt64, uint64(math.MaxInt64)),
		"uintptr":            fits(1, uintptr(1)),
		"duration":           fits(1e9, 1e9),
		"integer as float":   fits(1<<53, float64(1<<53)),
		"integer as float32": fits(-1<<24, float32(-1<<24)),
		"smallest as float":  fits(math.MinInt64, float64(math.MinInt64)),
		"float":              fits(0.1, 0.1),
		"float32":            fits(0.1, float32(0.1)),
		"infinity":           fits(math.Inf(1), float32(math.Inf(1))),
		"bytes":              fits([]byte("ab"), []byte("ab")),
		"no bytes":           fits([]byte{}, []byte{}),
		"named bytes":        fits([]byte("ab"), myBytes("ab")),
		"array of bytes":     fits([]byte("ab"), [2]myByte{'a', 'b'}),
		"bytes from numbers": fits([]int{1, 2}, []byte{1, 2}),
		"slice":              fits([]any{1, 2}, []int{1, 2}),
		"empty slice":        fits([]any{}, []int{}),
		"array":              fits([]any{"a", "b"}, [2]string{"a", "b"}),
		"nils in a slice":    fits([]any{nil, 1}, []*int{nil, new(1)}),
		"map":                fits(map[string]any{"a": 1}, map[string]uint{"a": 1}),
		"named map":          fits(map[string]any{"a": 1}, myMap{"a": 1}),
		"map of structs":     fits(map[string]any{"a": map[string]any{"note": "n"}}, map[string]Extra{"a": {"n"}}),
		"any":                fits([]any{1.0, map[string]any{}}, any([]any{1.0, map[string]any{}})),
		"pointers":           fits("a", new(new("a"))),
		"text":               fits("1.2.3.4", netip.MustParseAddr("1.2.3.4")),
		"pointer to text":    fits("123456789012345678901234567890", bigInt("123456789012345678901234567890")),
		"texts in a map":     fits(map[string]any{"a": "::1"}, map[string]netip.Addr{"a": netip.IPv6Loopback()}),
	} {
		t.Run(name, check)
	}
}

func bigInt(s string) *big.Int {
	i, _ := new(big.Int).SetString(s, 10)
	return i
}

func fits[T any](in any, want T) func(*testing.T) {
	return func(t *testing.T) {
		var got struct{ V T }
		require.NoError(t, layer.NewMessage(map[string]any{"v": in}).Decode(&got))
		require.Equal(t, want, got.V)
	}
}

type (
	pointless *pointless
	stringer  interface{ String() string }
)

func TestDecodeMisfits(t *testing.T) {
	for name, check := range map[string]func(t *testing.T){
		"string into int":        misfits[int]("7", "string into int"),
		"string into bytes":      misfits[[]byte]("7", "string into []uint8"),
		"bool into string":       misfits[string](true, "bool into string"),
		"int into bool":          misfits[bool](1, "int64 into bool"),
		"int into string":        misfits[string](1, "int64 into string"),
		"float into int":         misfits[int](1.0, "float64 into int"),
		"int into int8":          misfits[int8](128, "integer 128 into int8, which cannot hold it"),
		"int into uint8":         misfits[uint8](256, "integer 256 into uint8, which cannot hold it"),
		"negative into uint":     misfits[uint64](-1, "integer -1 into uint64, which cannot hold it"),
		"int into float":         misfits[float64](1<<53+1, "integer 9007199254740993 into float64, which cannot hold it"),
		"largest into float":     misfits[float64](math.MaxInt64, "integer 9223372036854775807 into float64, which cannot hold it"),
		"int into float32":       misfits[float32](1<<24+1, "integer 16777217 into float32, which cannot hold it"),
		"largest into float32":   misfits[float32](math.MaxInt64, "integer 9223372036854775807 into float32, which cannot hold it"),
		"float into float32":     misfits[float32](1e39, "float 1e+39 into float32, which cannot hold it"),
		"bytes into string":      misfits[string]([]byte("a"), "[]byte into string"),
		"bytes into ints":        misfits[[]int]([]byte("a"), "[]byte into []int"),
		"bytes into an array":    misfits[[2]byte]([]byte("a"), "1 bytes into [2]uint8"),
		"list into an array":     misfits[[1]int]([]any{1, 2}, "2 values into [1]int"),
		"list into a map":        misfits[map[string]any]([]any{}, "[]any into map[string]interface {}"),
		"list into an int":       misfits[int]([]any{}, "[]any into int"),
		"map into a slice":       misfits[[]any](map[string]any{}, "map[string]any into []interface {}"),
		"map with int keys":      misfits[map[int]any](map[string]any{}, "map[string]any into map[int]interface {}"),
		"into an interface":      misfits[stringer]("a", "string into layer_test.stringer"),
		"into a channel":         misfits[chan int](1, "int64 into chan int"),
		"into a func":            misfits[func()]("a", "string into func()"),
		"into a complex":         misfits[complex128](1.0, "float64 into complex128"),
		"into endless pointers":  misfits[pointless](1, "int64 into layer_test.pointless"),
		"text":                   misfits[netip.Addr]("x", `string into netip.Addr: ParseAddr("x"): unable to parse IP`),
		"int into text":          misfits[netip.Addr](1, "int64 into netip.Addr"),
		"reserved key into a":    misfitsAt[layer.Message](map[string]any{layer.ReservedKey: 1}, "v.__asgi_channel__", "the key is reserved"),
		"inside a list of maps":  misfitsAt[[]base]([]any{map[string]any{"ID": 1}, map[string]any{"ID": "x"}}, "v[1].ID", "string into int64"),
		"inside a map of slices": misfitsAt[map[string][]int](map[string]any{"k": []any{1, 2, nil, true}}, "v.k[3]", "bool into int"),
	} {
		t.Run(name, check)
	}
}

func misfits[T any](in any, want string) func(*testing.T) { return misfitsAt[T](in, "v", want) }

func misfitsAt[T any](in any, path, want string) func(*testing.T) {
	return func(t *testing.T) {
		var dst struct{ V T }
		err := layer.NewMessage(map[string]any{"v": in}).Decode(&dst)
		require.ErrorIs(t, err, layer.ErrDecode)
		require.EqualError(t, err, `decode "`+path+`": layer: message does not fit the destination: `+want)
	}
}

func TestDecodeNil(t *testing.T) {
	type all struct {
		P *int
		M map[string]int
		S []int
		A any
		I int
		T time.Time
	}
	now := time.Now()
	got := all{new(1), map[string]int{}, []int{1}, 1, 1, now}
	require.NoError(t, layer.NewMessage(map[string]any{"p": nil, "m": nil, "s": nil, "a": nil, "i": nil, "t": nil}).Decode(&got))
	require.Equal(t, all{I: 1, T: now}, got)
}

func TestDecodeIntoWhatIsThere(t *testing.T) {
	one, backing := 1, []int{1, 2, 3}
	dst := struct {
		P *int
		M map[string]int
		S []int
	}{&one, map[string]int{"old": 1}, backing[:1]}
	require.NoError(t, layer.NewMessage(map[string]any{"p": 2, "m": map[string]any{"new": 2}, "s": []any{7, 8}}).Decode(&dst))
	require.Equal(t, 2, one, "a pointer is followed")
	require.Equal(t, map[string]int{"old": 1, "new": 2}, dst.M, "a map is added to")
	require.Equal(t, []int{1, 2, 3}, backing, "a slice is replaced, its array left alone")
}

func TestDecodeMessageFields(t *testing.T) {
	var dst struct {
		Payload layer.Message
		Others  []*layer.Message
		layer.Message
	}
	in := map[string]any{"payload": everyKind(), "others": []any{map[string]any{"n": 1}, nil}, "message": map[string]any{}}
	require.NoError(t, layer.NewMessage(in).Decode(&dst))
	want := layer.NewMessage(everyKind())
	require.True(t, want.Equal(dst.Payload), "got %v", dst.Payload)
	require.Equal(t, want.Size(), dst.Payload.Size())
	require.Equal(t, int64(1), dst.Others[0].Int("n"))
	require.Nil(t, dst.Others[1])
}

func TestDecodeTopLevel(t *testing.T) {
	m := layer.NewMessage(map[string]any{"a": 1, "b": 2})
	var ints map[string]int8
	require.NoError(t, m.Decode(&ints))
	require.Equal(t, map[string]int8{"a": 1, "b": 2}, ints)
	var whatever any
	require.NoError(t, m.Decode(&whatever))
	require.Equal(t, m.Map(), whatever)
	var pointer *struct{ A int }
	require.NoError(t, m.Decode(&pointer))
	require.Equal(t, 1, pointer.A)
	var p pointless
	p = &p
	for want, dst := range map[string]any{
		"into <nil>, which is not a pointer to a value":           nil,
		"into struct {}, which is not a pointer to a value":       struct{}{},
		"into *struct {}, which is not a pointer to a value":      (*struct{})(nil),
		"into map[string]int8, which is not a pointer to a value": ints,
		"map[string]any into int":                                 new(int),
		"map[string]any into []interface {}":                      &[]any{},
		"map[string]any into layer_test.pointless":                &p,
		"map[string]any into map[layer_test.keyA]bool":            &map[keyA]bool{},
	} {
		err := m.Decode(dst)
		require.ErrorIs(t, err, layer.ErrDecode)
		require.EqualError(t, err, "decode: layer: message does not fit the destination: "+want)
	}
	require.NoError(t, layer.Message{}.Decode(&struct{ A int }{}))
}

func TestDecodeErrors(t *testing.T) {
	bad := layer.NewMessage(map[string]any{"v": struct{}{}})
	require.Equal(t, bad.Err(), bad.Decode(&struct{}{}))
	require.Equal(t, bad.Err(), bad.Decode(nil))

	var dst struct{ V refusing }
	err := layer.NewMessage(map[string]any{"v": "x"}).Decode(&dst)
	require.ErrorIs(t, err, layer.ErrDecode)
	require.ErrorIs(t, err, errRefused)
	var named *layer.Error
	require.ErrorAs(t, err, &named)
	require.Equal(t, "v", named.Name)
	require.False(t, errors.Is(err, layer.ErrNotSent), "decoding sends nothing")
}

var errRefused = errors.New("refused")

type refusing struct{}

func (*refusing) UnmarshalText([]byte) error { return errRefused }
