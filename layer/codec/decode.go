package codec

import (
	"iter"

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
	c, err := check(string(b), false)
	if err != nil {
		return layer.Message{}, err
	}
	return c.message(), nil
}

// MaxChannels is how many channels a message may name in the key
// [layer.ReservedKey]: it comes once for all channels that a process has in a
// group.
const MaxChannels = 1 << 20

// DecodeAddressed is Decode for messages of channels_redis, which may say for
// which channels of a process they are: in the key [layer.ReservedKey], as a
// string or an array of them, up to [MaxChannels], which do not count as values of
// the message. That key is taken out of the message. channels is nil if there is
// none.
func DecodeAddressed(b []byte) (msg layer.Message, channels []string, err error) {
	c, err := check(string(b), true)
	if err != nil {
		return layer.Message{}, nil, err
	}
	if c.address > 0 {
		if channels, err = c.channels(); err != nil {
			return layer.Message{}, nil, err
		}
	}
	return c.message(), channels, nil
}

// channels reads the value of the reserved key.
func (c *checker) channels() ([]string, error) {
	r := reader{c.s, c.address}
	h := r.head()
	switch h.kind {
	case kindString:
		return []string{r.take(h)}, nil
	case kindList:
		channels := make([]string, h.number)
		for i := range channels {
			start := r.off
			h := r.head()
			if h.kind != kindString {
				return nil, invalid(start, "a channel in %s is not a string", layer.ReservedKey)
			}
			channels[i] = r.take(h)
		}
		return channels, nil
	}
	return nil, invalid(c.address, "%s is neither a string nor an array", layer.ReservedKey)
}

// message is the message that was checked.
func (c *checker) message() layer.Message {
	s := c.s
	if c.repeats {
		m := map[string]any{}
		for key, v := range fields(s) {
			m[key] = v
		}
		return layer.NewMessage(m)
	}
	return layer.NewLazyMessage(c.size, fields(s))
}

// fields iterates over the fields of what was checked, without the reserved
// key.
func fields(s string) iter.Seq2[string, any] {
	return func(yield func(string, any) bool) {
		r := reader{s: s}
		for range r.head().number {
			key := r.text()
			if key == layer.ReservedKey {
				r.pass()
			} else if !yield(key, r.value()) {
				return
			}
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

// pass passes over a value.
func (r *reader) pass() {
	h := r.head()
	switch h.kind {
	case kindString, kindBytes:
		r.take(h)
	case kindList:
		for range h.number {
			r.pass()
		}
	case kindMap:
		for range 2 * h.number {
			r.pass()
		}
	}
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
