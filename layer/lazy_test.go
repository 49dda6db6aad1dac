package layer_test

import (
	"errors"
	"fmt"
	"iter"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/channellayer/channellayer/layer"
)

var lazyFields = map[string]any{
	"type": "chat", "n": int64(7), "f": 1.5, "ok": true, "none": nil, "b": []byte{0, 255},
	"l": []any{int64(1), []byte("x"), map[string]any{"z": nil, "a": "b"}},
	"m": map[string]any{"z": int64(1), "a": []any{}, "b": []byte("y")},
}

// lazyMessage returns a lazy message of lazyFields, and how often they were
// made.
func lazyMessage() (msg layer.Message, made *atomic.Int32) {
	made = new(atomic.Int32)
	ready := layer.NewMessage(lazyFields)
	return layer.NewLazyMessage(ready.Size(), func(yield func(string, any) bool) {
		made.Add(1)
		for key, v := range ready.Map() {
			if !yield(key, v) {
				return
			}
		}
	}), made
}

func TestLazyMessageReadsAsAnyOther(t *testing.T) {
	type target struct {
		Type string
		L    []any
	}
	for name, look := range map[string]func(layer.Message) any{
		"Equal":   func(m layer.Message) any { return m.Equal(layer.NewMessage(lazyFields)) },
		"Map":     func(m layer.Message) any { return m.Map() },
		"Len":     func(m layer.Message) any { return m.Len() },
		"Has":     func(m layer.Message) any { return []bool{m.Has("n"), m.Has("x")} },
		"Type":    func(m layer.Message) any { return m.Type() },
		"numbers": func(m layer.Message) any { return []any{m.Int("n"), m.Float("f"), m.Float("n"), m.Bool("ok")} },
		"Bytes":   func(m layer.Message) any { return m.Bytes("b") },
		"Get":     func(m layer.Message) any { v, ok := m.Get("m"); return []any{v, ok} },
		"JSON":    func(m layer.Message) any { b, err := m.JSON(); return []any{string(b), err} },
		"Format":  func(m layer.Message) any { return fmt.Sprint(m) },
		"Decode":  func(m layer.Message) any { var s target; err := m.Decode(&s); return []any{s, err} },
		"All": func(m layer.Message) any {
			var out []any
			for key, v := range m.All() {
				out = append(out, key, v)
			}
			return out
		},
		"inside another": func(m layer.Message) any {
			var outer struct{ Inner layer.Message }
			err := layer.NewMessage(map[string]any{"inner": m.Map()}).Decode(&outer)
			return []any{outer.Inner.Equal(m), err}
		},
	} {
		t.Run(name, func(t *testing.T) {
			msg, made := lazyMessage()
			want := look(layer.NewMessage(lazyFields))
			require.Equal(t, want, look(msg))
			require.Equal(t, want, look(msg), "the second time")
			require.EqualValues(t, 1, made.Load(), "the fields were made so often")
		})
	}
}

func TestLazyMessageIsNotMadeUnlessLookedAt(t *testing.T) {
	msg, made := lazyMessage()
	require.NoError(t, msg.Err())
	require.Equal(t, layer.NewMessage(lazyFields).Size(), msg.Size())
	limits, err := layer.Limits{}.WithDefaults()
	require.NoError(t, err)
	require.NoError(t, limits.CheckMessage(msg))
	type key struct{}
	for range 2 {
		b, err := msg.Encoded(key{}, func() ([]byte, error) { return []byte("bytes"), nil })
		require.NoError(t, err)
		require.Equal(t, "bytes", string(b))
	}
	require.Zero(t, made.Load(), "the fields were made so often")
}

func TestLazyMessageIsMadeOnce(t *testing.T) {
	want := layer.NewMessage(lazyFields)
	for range 100 {
		msg, made := lazyMessage()
		var readers sync.WaitGroup
		for range 8 {
			readers.Go(func() {
				if !msg.Equal(want) {
					t.Errorf("read %v, expected %v", msg, want)
				}
			})
		}
		readers.Wait()
		require.EqualValues(t, 1, made.Load(), "the fields were made so often")
	}
}

func TestLazyMessageSortsAndKeepsTheLast(t *testing.T) {
	msg := layer.NewLazyMessage(1, pairs("b", int64(1), "a", int64(2), "b", int64(3), "c", nil, "a", "last", "b", []byte("last")))
	require.Equal(t, `message{a: "last", b: []byte("last"), c: <nil>}`, fmt.Sprint(msg))
}

func TestLazyMessageOfNothing(t *testing.T) {
	msg := layer.NewLazyMessage(1, pairs())
	require.True(t, msg.Equal(layer.Message{}))
	require.Empty(t, msg.Map())
}

func TestLazyMessageGivesNothingAway(t *testing.T) {
	msg, _ := lazyMessage()
	got := msg.Map()
	got["l"].([]any)[2].(map[string]any)["a"] = "changed"
	got["b"].([]byte)[0] = 9
	require.Equal(t, lazyFields, msg.Map())
}

func TestLazyMessageRefusesForeignTypes(t *testing.T) {
	for _, v := range []any{1, struct{}{}, errors.New("x"), []any{[]string{}}, map[string]any{"a": float32(1)}} {
		msg := layer.NewLazyMessage(1, pairs("v", v))
		require.Panics(t, func() { msg.Len() }, "%T", v)
	}
}

func TestLazyMessageIsReadWithoutAllocation(t *testing.T) {
	msg, _ := lazyMessage()
	msg.Len()
	require.Zero(t, testing.AllocsPerRun(100, func() {
		if msg.Type() != "chat" || msg.Int("n") != 7 || !msg.Has("m") {
			t.Error("misread")
		}
	}))
}

// pairs iterates over keys and values that come in turn.
func pairs(list ...any) iter.Seq2[string, any] {
	return func(yield func(string, any) bool) {
		for i := 0; i < len(list); i += 2 {
			if !yield(list[i].(string), list[i+1]) {
				return
			}
		}
	}
}
