package codec

import (
	"strings"

	"github.com/channellayer/channellayer/layer"
)

// Decode makes a message of its msgpack encoding, in whatever form Python's
// unpackb takes: integers, lengths and floats may be written longer than they
// need, keys may be bytes, and where a key comes twice the last counts. It
// checks all of b at once, copies it, and makes the message's fields when
// somebody first looks ([layer.NewLazyMessage]).
//
// b may come from anyone: time and memory are at most in proportion to its
// length, which the caller bounds. The error matches [layer.ErrInvalidMessage]
// (or [layer.ErrMessageTooLarge] above [layer.MaxSize]) and says what is wrong
// at which byte: what is not msgpack, is not one map and nothing after it, or
// is nothing that a message may hold, the key [layer.ReservedKey] included.
func Decode(b []byte) (layer.Message, error) {
	c, err := check(view(b), false)
	if err != nil {
		return layer.Message{}, err
	}
	s := string(b)
	if c.repeats {
		return layer.NewMessage(fieldMap(s)), nil
	}
	return lazyMessage(s, c.size), nil
}

// DecodeAddressed is Decode for messages of channels_redis, which may say for
// which channels of a process they are: in the key [layer.ReservedKey], as a
// string or an array of them. That key is taken out of the message. channels
// is nil if there is none.
func DecodeAddressed(b []byte) (msg layer.Message, channels []string, err error) {
	c, err := check(view(b), true)
	if err != nil {
		return layer.Message{}, nil, err
	}
	s := string(b)
	if c.repeats {
		return splitAddress(fieldMap(s), c.address)
	}
	if c.address == 0 {
		return lazyMessage(s, c.size), nil, nil
	}
	r := reader{s, c.address}
	if channels, err = addressed(r.value(), c.address); err != nil {
		return layer.Message{}, nil, err
	}
	h, _, _ := readHead(s, 0)
	n := int(h.number)
	return lazyMessage(s, c.size-c.addressSize-containerSize(n)+containerSize(n-1)), channels, nil
}

func splitAddress(fields map[string]any, address int) (msg layer.Message, channels []string, err error) {
	if v, ok := fields[layer.ReservedKey]; ok {
		if channels, err = addressed(v, address); err != nil {
			return layer.Message{}, nil, err
		}
		delete(fields, layer.ReservedKey)
	}
	return layer.NewMessage(fields), channels, nil
}

// addressed takes the value of the reserved key, which stands at that byte.
func addressed(v any, at int) ([]string, error) {
	switch v := v.(type) {
	case string:
		return []string{strings.Clone(v)}, nil
	case []any:
		channels := make([]string, len(v))
		for i, e := range v {
			name, ok := e.(string)
			if !ok {
				return nil, invalid(at, "%s holds a %T", layer.ReservedKey, e)
			}
			channels[i] = strings.Clone(name)
		}
		return channels, nil
	}
	return nil, invalid(at, "%s is neither a string nor a list", layer.ReservedKey)
}

func lazyMessage(s string, size int) layer.Message {
	return layer.NewLazyMessage(size, func(yield func(string, any) bool) {
		fields(s, func(key string, v any) bool { return key == layer.ReservedKey || yield(key, v) })
	})
}

// fieldMap reads the fields of a message that was checked.
func fieldMap(s string) map[string]any {
	m := map[string]any{}
	fields(s, func(key string, v any) bool { m[key] = v; return true })
	return m
}

func fields(s string, yield func(string, any) bool) {
	r := reader{s, 0}
	for range r.head().number {
		key := r.text()
		if !yield(key, r.value()) {
			return
		}
	}
}

// reader reads what was checked. The strings are parts of s.
type reader struct {
	s   string
	off int
}

func (r *reader) head() head {
	h, end, _ := readHead(r.s, r.off)
	r.off = end
	return h
}

func (r *reader) text() string { return r.take(r.head()) }

// take reads the contents of a string or of bytes.
func (r *reader) take(h head) string {
	start := r.off
	r.off += int(h.number)
	return r.s[start:r.off]
}

func (r *reader) value() any {
	h := r.head()
	switch h.kind {
	case kindBool:
		return h.number != 0
	case kindUint, kindInt:
		return int64(h.number)
	case kindFloat32, kindFloat64:
		return h.float()
	case kindString:
		return r.take(h)
	case kindBytes:
		return []byte(r.take(h))
	case kindList:
		out := make([]any, h.number)
		for i := range out {
			out[i] = r.value()
		}
		return out
	case kindMap:
		out := make(map[string]any, h.number)
		for range h.number {
			key := r.text()
			out[key] = r.value()
		}
		return out
	}
	return nil
}
