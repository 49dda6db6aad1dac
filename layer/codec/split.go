package codec

import (
	"github.com/vmihailenco/msgpack/v5"

	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/layer/internal/msgpacksize"
)

// SplitAddressed cuts what [DecodeAddressed] reads in two, without looking at
// the second part: the message alone, for [Decode], and the value of the key
// [layer.ReservedKey], a part of s, for [DecodeAddress]. A backend that has
// seen that value before, which in a large group is most of what arrives, need
// not read it again.
//
// ok is false where that key is not the last, as everybody writes it, or where
// what comes before it is wrong: DecodeAddressed then has the answer.
func SplitAddressed(s string) (message []byte, address string, ok bool) {
	c := checker{s: s, most: layer.MaxValues}
	h, err := c.head()
	if err != nil || h.kind != kindMap || h.number == 0 {
		return nil, "", false
	}
	first := c.off
	for range h.number - 1 {
		if key, err := c.key(); err != nil || key == layer.ReservedKey {
			return nil, "", false
		}
		if err := c.value(1); err != nil {
			return nil, "", false
		}
	}
	end := c.off
	if key, err := c.key(); err != nil || key != layer.ReservedKey {
		return nil, "", false
	}
	n := int(h.number) - 1
	message, err = write(nil, msgpacksize.Header(n)+end-first, func(e *msgpack.Encoder) error { return e.EncodeMapLen(n) })
	return append(message, s[first:end]...), s[c.off:], err == nil
}

// DecodeAddress reads the value of the key [layer.ReservedKey], as
// [SplitAddressed] returns it. The names are parts of s. The error matches
// [layer.ErrInvalidMessage].
func DecodeAddress(s string) (channels []string, err error) {
	c := checker{s: s, most: MaxChannels}
	if err := c.value(1); err != nil {
		return nil, err
	}
	if c.off < len(s) {
		return nil, invalid(c.off, "%d bytes after the address", len(s)-c.off)
	}
	return c.channels()
}
