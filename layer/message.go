package layer

import (
	"iter"
	"slices"
	"strings"
	"sync/atomic"
)

const (
	// MaxDepth is how deep the maps and slices of a message may nest, the
	// message's own map counted.
	MaxDepth = 128

	// MaxValues is how many values a message may hold, those inside its maps
	// and slices counted too.
	MaxValues = 100_000

	// ReservedKey cannot be a key of a message's own map: channels_redis uses
	// it to say for which channels of a process a message is.
	ReservedKey = "__asgi_channel__"
)

// Message is a map from strings to values that nobody can change. It is one
// word wide, and copies of it share the content: hand it on freely, also to
// other goroutines. The zero Message is empty and valid.
//
// A value is nil, bool, int64, float64, string, []byte, []any or
// map[string]any, whatever the backend and whatever went in (see [NewMessage]).
// By convention, "type" says what kind of message it is; a layer does not ask
// for it, but package consumer dispatches by it.
type Message struct{ content *content }

// content is what copies of a Message share. Only memo changes after it was
// made, and what lazy points to.
type content struct {
	fields dict
	size   int
	err    error
	lazy   *lazy // in place of fields, unless nil
	memo   atomic.Pointer[memoEntry]
}

// Inside a message, a value is nil, bool, int64, float64 or string as it is,
// and one of these for the rest. None of them leaves the package uncopied.
type (
	blob  string  // []byte
	list  []any   // []any
	dict  []field // map[string]any, sorted by key
	field struct {
		key   string
		value any
	}
)

// emptyMap is the size of an empty message, in bytes.
const emptyMap = 1

// NewMessage makes a message of fields, which it copies: the caller may change
// them afterwards. Values may be of any kind that has one meaning on every
// backend:
//
//   - nil, booleans, strings, []byte;
//   - all integers, which arrive as int64, and floats, which arrive as float64;
//   - slices and arrays of such values, which arrive as []any ([]byte for
//     slices and arrays of bytes), and maps of them with string keys, which
//     arrive as map[string]any, empty where nil;
//   - named types of these kinds; a json.Number arrives as the number it is.
//
// Anything else (a struct, a pointer, a channel, an integer outside int64, a
// string or key that is not UTF-8, nesting deeper than [MaxDepth], more than
// [MaxValues] values, the key [ReservedKey]) makes an invalid message: Err
// returns an error that matches [ErrInvalidMessage] and names the path to the
// value, sending the message returns that error, and the message reads as
// empty. What would be larger than [MaxSize] is invalid too, with
// [ErrMessageTooLarge].
func NewMessage(fields map[string]any) Message {
	var b builder
	d, err := b.message(fields)
	return b.finish(d, err)
}

// Err returns why NewMessage could not make the message, or nil.
func (m Message) Err() error {
	if m.content == nil {
		return nil
	}
	return m.content.err
}

// Size is the length in bytes of the message's msgpack encoding, in the
// smallest form for each value. It is what [Limits].MaxMessageSize bounds, for
// every backend. An invalid message has size 0.
func (m Message) Size() int {
	if m.content == nil {
		return emptyMap
	}
	return m.content.size
}

// Len is the number of fields.
func (m Message) Len() int { return len(m.fields()) }

// Has reports whether there is a field with that key.
func (m Message) Has(key string) bool {
	_, ok := m.fields().find(key)
	return ok
}

// Type is the string in the field "type", or "".
func (m Message) Type() string { return m.String("type") }

// String returns the string in the field, or "" if it holds none.
func (m Message) String(key string) string { return read[string](m, key) }

// Int returns the integer in the field, or 0 if it holds none.
func (m Message) Int(key string) int64 { return read[int64](m, key) }

// Bool returns the boolean in the field, or false if it holds none.
func (m Message) Bool(key string) bool { return read[bool](m, key) }

// Float returns the number in the field, or 0 if it holds none. Unlike Int it
// takes either kind of number, since 1.0 may well have been written as 1.
func (m Message) Float(key string) float64 {
	if i, ok := m.raw(key).(int64); ok {
		return float64(i)
	}
	return read[float64](m, key)
}

// Bytes returns a copy of the bytes in the field, or nil if it holds none.
func (m Message) Bytes(key string) []byte {
	if b, ok := m.raw(key).(blob); ok {
		return []byte(b)
	}
	return nil
}

// Get returns the value of the field, and whether there is one. Slices and
// maps are copies.
func (m Message) Get(key string) (any, bool) {
	v, ok := m.fields().find(key)
	return export(v), ok
}

// All iterates over the fields in the order of their keys. Slices and maps are
// copies.
func (m Message) All() iter.Seq2[string, any] {
	return func(yield func(string, any) bool) {
		for _, f := range m.fields() {
			if !yield(f.key, export(f.value)) {
				return
			}
		}
	}
}

// Map returns the message as a map, which is the caller's to keep and change.
func (m Message) Map() map[string]any { return export(m.fields()).(map[string]any) }

// Equal reports whether two messages hold the same fields with values of the
// same types. NaN equals NaN here. An invalid message equals none.
func (m Message) Equal(other Message) bool {
	return m.Err() == nil && other.Err() == nil && equal(m.fields(), other.fields())
}

func (m Message) fields() dict {
	if m.content == nil {
		return nil
	}
	if m.content.lazy != nil {
		return m.content.lazy.get()
	}
	return m.content.fields
}

func (m Message) raw(key string) any {
	v, _ := m.fields().find(key)
	return v
}

func read[T any](m Message, key string) T {
	v, _ := m.raw(key).(T)
	return v
}

// linearSearch is up to how many fields looking at each is faster than halving.
const linearSearch = 8

func (d dict) find(key string) (any, bool) {
	if len(d) <= linearSearch {
		for i := range d {
			if d[i].key == key {
				return d[i].value, true
			}
		}
		return nil, false
	}
	i, ok := slices.BinarySearchFunc(d, key, func(f field, key string) int { return strings.Compare(f.key, key) })
	if !ok {
		return nil, false
	}
	return d[i].value, true
}

// export copies a value out of a message.
func export(v any) any {
	switch v := v.(type) {
	case blob:
		return []byte(v)
	case list:
		out := make([]any, len(v))
		for i, e := range v {
			out[i] = export(e)
		}
		return out
	case dict:
		out := make(map[string]any, len(v))
		for _, f := range v {
			out[f.key] = export(f.value)
		}
		return out
	}
	return v
}

func equal(a, b any) bool {
	switch a := a.(type) {
	case list:
		b, ok := b.(list)
		return ok && slices.EqualFunc(a, b, equal)
	case dict:
		b, ok := b.(dict)
		return ok && slices.EqualFunc(a, b, func(f, g field) bool { return f.key == g.key && equal(f.value, g.value) })
	case float64:
		b, ok := b.(float64)
		return ok && (a == b || a != a && b != b)
	}
	switch b.(type) {
	case list, dict: // not comparable with ==
		return false
	}
	return a == b
}
