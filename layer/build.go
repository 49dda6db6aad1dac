package layer

import (
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/channellayer/channellayer/layer/internal/msgpacksize"
)

// builder turns foreign values into the inside of one message. It counts what
// a map or slice holds before it makes room for it: a small value that refers
// to itself, or to one large slice many times, would otherwise grow without
// bound.
type builder struct {
	values int // inside the maps and slices so far
	size   int // msgpack bytes so far
}

// badValue says what is wrong with a value, and where it is. The path is built
// from the inside out while the builder returns.
type badValue struct {
	err  error
	path []string
}

func invalid(format string, args ...any) *badValue {
	return newBad(ErrInvalidMessage, format, args...)
}

func newBad(kind error, format string, args ...any) *badValue {
	return &badValue{err: fmt.Errorf("%w: "+format, append([]any{kind}, args...)...)}
}

// under adds the step that led to the value.
func (v *badValue) under(step string) *badValue {
	if len(step) > maxQuoted {
		step = step[:maxQuoted] + "..."
	}
	v.path = append(v.path, step)
	return v
}

func (v *badValue) error(op string) error {
	slices.Reverse(v.path)
	path := strings.TrimPrefix(strings.Join(v.path, ""), ".")
	return &Error{Op: op, Name: path, Err: v.err}
}

func keyStep(key string) string  { return "." + key }
func indexStep(index int) string { return "[" + strconv.Itoa(index) + "]" }

func (b *builder) finish(d dict, bad *badValue) Message {
	if bad != nil {
		return Message{&content{err: bad.error("message")}}
	}
	return Message{&content{fields: d, size: b.size}}
}

// message takes the fields of a message's own map.
func (b *builder) message(fields map[string]any) (dict, *badValue) {
	if _, ok := fields[ReservedKey]; ok {
		return nil, invalid("the key is reserved").under(keyStep(ReservedKey))
	}
	return b.dict(fields, 1)
}

// open takes a map or slice of n elements at the given depth.
func (b *builder) open(n, depth int) *badValue {
	if depth > MaxDepth {
		return invalid("nested deeper than %d", MaxDepth)
	}
	if bad := b.count(n); bad != nil {
		return bad
	}
	return b.grow(msgpacksize.Header(n))
}

func (b *builder) count(n int) *badValue {
	if n > MaxValues-b.values {
		return invalid("more than %d values", MaxValues)
	}
	b.values += n
	return nil
}

func (b *builder) grow(size int) *badValue {
	if size > MaxSize-b.size {
		return newBad(ErrMessageTooLarge, "more than %d bytes", MaxSize)
	}
	b.size += size
	return nil
}

// value takes any value; its container is at depth. It returns what is right
// as it is in the interface that it came in: another would be an allocation.
func (b *builder) value(boxed any, depth int) (any, *badValue) {
	switch v := boxed.(type) {
	case nil:
		return nil, b.grow(1)
	case bool:
		return boxed, b.grow(1)
	case string:
		return boxed, b.string(v)
	case int:
		return int64(v), b.grow(msgpacksize.Int(int64(v)))
	case int64:
		return boxed, b.grow(msgpacksize.Int(v))
	case float64:
		return boxed, b.grow(9)
	case json.Number:
		return b.number(string(v))
	case []byte:
		return b.bytes(v)
	case map[string]any:
		return b.dict(v, depth+1)
	case []any:
		return b.list(len(v), depth+1, func(i int) any { return v[i] })
	}
	return b.reflected(reflect.ValueOf(boxed), depth)
}

// reflected takes the kinds that value does not know by type.
func (b *builder) reflected(v reflect.Value, depth int) (any, *badValue) {
	switch v.Kind() {
	case reflect.Bool:
		return v.Bool(), b.grow(1)
	case reflect.String:
		return v.String(), b.string(v.String())
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return v.Int(), b.grow(msgpacksize.Int(v.Int()))
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		u := v.Uint()
		if u > math.MaxInt64 {
			return nil, invalid("integer %d is outside int64", u)
		}
		return int64(u), b.grow(msgpacksize.Int(int64(u)))
	case reflect.Float32, reflect.Float64:
		return v.Float(), b.grow(9)
	case reflect.Slice, reflect.Array:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			return b.reflectedBytes(v)
		}
		return b.list(v.Len(), depth+1, func(i int) any { return v.Index(i).Interface() })
	case reflect.Map:
		if v.Type().Key().Kind() == reflect.String {
			return b.reflectedMap(v, depth+1)
		}
	}
	return nil, invalid("%s", v.Type())
}

func (b *builder) string(s string) *badValue {
	if !utf8.ValidString(s) {
		return invalid("string %.40q is not UTF-8", s)
	}
	return b.grow(msgpacksize.String(len(s)))
}

func (b *builder) bytes(p []byte) (any, *badValue) {
	if bad := b.grow(msgpacksize.Bytes(len(p))); bad != nil {
		return nil, bad
	}
	return blob(p), nil
}

func (b *builder) reflectedBytes(v reflect.Value) (any, *badValue) {
	if v.Kind() == reflect.Array { // not addressable
		p := reflect.MakeSlice(reflect.SliceOf(v.Type().Elem()), v.Len(), v.Len())
		reflect.Copy(p, v)
		v = p
	}
	return b.bytes(v.Bytes())
}

func (b *builder) list(n, depth int, element func(int) any) (any, *badValue) {
	if bad := b.open(n, depth); bad != nil {
		return nil, bad
	}
	out := make(list, n)
	for i := range out {
		v, bad := b.value(element(i), depth)
		if bad != nil {
			return nil, bad.under(indexStep(i))
		}
		out[i] = v
	}
	return out, nil
}

func (b *builder) dict(m map[string]any, depth int) (dict, *badValue) {
	if bad := b.open(len(m), depth); bad != nil {
		return nil, bad
	}
	out := make(dict, 0, len(m))
	for key, v := range m {
		f, bad := b.field(key, v, depth)
		if bad != nil {
			return nil, bad
		}
		out = append(out, f)
	}
	sortFields(out)
	return out, nil
}

func (b *builder) reflectedMap(m reflect.Value, depth int) (any, *badValue) {
	if bad := b.open(m.Len(), depth); bad != nil {
		return nil, bad
	}
	out := make(dict, 0, m.Len())
	for it := m.MapRange(); it.Next(); {
		f, bad := b.field(it.Key().String(), it.Value().Interface(), depth)
		if bad != nil {
			return nil, bad
		}
		out = append(out, f)
	}
	sortFields(out)
	return out, nil
}

func (b *builder) field(key string, v any, depth int) (field, *badValue) {
	if bad := b.key(key); bad != nil {
		return field{}, bad
	}
	value, bad := b.value(v, depth)
	if bad != nil {
		return field{}, bad.under(keyStep(key))
	}
	return field{key, value}, nil
}

func (b *builder) key(key string) *badValue {
	if !utf8.ValidString(key) {
		return invalid("key %.40q is not UTF-8", key)
	}
	return b.grow(msgpacksize.String(len(key)))
}

func sortFields(d dict) {
	slices.SortFunc(d, func(f, g field) int { return strings.Compare(f.key, g.key) })
}
