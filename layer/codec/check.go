package codec

import (
	"fmt"
	"math"
	"slices"
	"unicode/utf8"
	"unsafe"

	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/layer/internal/msgpacksize"
)

// Check reports whether Decode takes b, without making the message, and
// returns the size that the message has ([layer.Message.Size]). It allocates
// nothing, unless b holds a map that has a key twice, or that has more than 16
// keys out of order: to know the size it must then look at all keys at once.
// The error is Decode's.
func Check(b []byte) (size int, err error) {
	c, err := check(view(b), false)
	if err != nil {
		return 0, err
	}
	if c.repeats {
		return c.message().Size(), nil
	}
	return c.size, nil
}

// view is b as a string, for as long as nobody changes b.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// checker walks over bytes from anywhere. Each length is compared with what
// remains before it is used.
type checker struct {
	s         string
	off       int
	addressed bool // whether the message's own map may have the reserved key
	values    int  // inside the maps and lists so far
	most      int  // of them
	over      int  // where there were too many, but for the reserved key
	size      int  // in the smallest form, so far
	repeats   bool // whether a map may have a key twice, so that size is too large

	// Where the value of the reserved key is, or 0, and what the key and it
	// have added to size.
	address, addressSize int
}

func check(s string, addressed bool) (checker, error) {
	c := checker{s: s, addressed: addressed, most: layer.MaxValues}
	if addressed {
		c.most++ // the reserved key is none of the message's
	}
	h, err := c.head()
	if err != nil {
		return c, err
	}
	if h.kind != kindMap {
		return c, invalid(0, "not a map")
	}
	if err := c.fields(h.number, 1); err != nil {
		return c, err
	}
	if c.off < len(s) {
		return c, invalid(c.off, "%d bytes after the message", len(s)-c.off)
	}
	switch n := int(h.number); {
	case c.address > 0:
		c.size -= c.addressSize + msgpacksize.Header(n) - msgpacksize.Header(n-1)
	case c.values > layer.MaxValues:
		return c, invalid(c.over, "more than %d values", layer.MaxValues)
	}
	if c.size > layer.MaxSize {
		return c, &layer.Error{Op: "decode", Err: fmt.Errorf("%w: more than %d bytes", layer.ErrMessageTooLarge, layer.MaxSize)}
	}
	return c, nil
}

func (c *checker) head() (head, error) {
	h, end, ok := readHead(c.s, c.off)
	if !ok {
		return h, invalid(len(c.s), "it ends early")
	}
	c.off = end
	return h, nil
}

// value checks a value in a container at depth.
func (c *checker) value(depth int) error {
	start := c.off
	h, err := c.head()
	if err != nil {
		return err
	}
	switch h.kind {
	case kindNil, kindBool:
		c.size++
	case kindUint, kindInt:
		if h.kind == kindUint && h.number > math.MaxInt64 {
			return invalid(start, "integer %d is outside int64", h.number)
		}
		c.size += msgpacksize.Int(int64(h.number))
	case kindFloat32, kindFloat64:
		c.size += 9
	case kindString:
		_, err = c.text(h, "string")
	case kindBytes:
		err = c.skip(h)
		c.size += msgpacksize.Bytes(int(h.number))
	case kindList:
		err = c.list(h.number, depth+1)
	case kindMap:
		err = c.fields(h.number, depth+1)
	case kindExt:
		err = invalid(start, "extension types are not supported")
	default:
		err = invalid(start, "no value begins with 0x%x", c.s[start])
	}
	return err
}

// skip passes over the contents of a string or of bytes.
func (c *checker) skip(h head) error {
	if rest := len(c.s) - c.off; h.number > uint64(rest) {
		return invalid(c.off, "%d bytes are announced, %d remain", h.number, rest)
	}
	c.off += int(h.number)
	return nil
}

func (c *checker) text(h head, what string) (string, error) {
	start := c.off
	if err := c.skip(h); err != nil {
		return "", err
	}
	s := c.s[start:c.off]
	if !utf8.ValidString(s) {
		return "", invalid(start, "%s %.40q is not UTF-8", what, s)
	}
	c.size += msgpacksize.String(len(s))
	return s, nil
}

// open takes a list or map of n values at the given depth, which take up at
// least each bytes each.
func (c *checker) open(n uint64, each, depth int) error {
	if depth > layer.MaxDepth {
		return invalid(c.off, "nested deeper than %d", layer.MaxDepth)
	}
	if rest := len(c.s) - c.off; n > uint64(rest/each) {
		return invalid(c.off, "%d elements are announced, too many for the %d bytes that remain", n, rest)
	}
	if n > uint64(c.most-c.values) {
		return invalid(c.off, "more than %d values", c.most)
	}
	if c.values += int(n); c.values == layer.MaxValues+1 {
		c.over = c.off
	}
	c.size += msgpacksize.Header(int(n))
	return nil
}

func (c *checker) list(n uint64, depth int) error {
	if err := c.open(n, 1, depth); err != nil {
		return err
	}
	for range n {
		if err := c.value(depth); err != nil {
			return err
		}
	}
	return nil
}

// comparedKeys is how many keys out of order are compared each with each.
const comparedKeys = 16

func (c *checker) fields(n uint64, depth int) error {
	if err := c.open(n, 2, depth); err != nil {
		return err
	}
	var keys [comparedKeys]string // the first ones
	var largest string
	for i := range int(n) {
		start, before := c.off, c.size
		key, err := c.key()
		if err != nil {
			return err
		}
		switch {
		case i == 0 || key > largest:
			largest = key
		case i > len(keys) || slices.Contains(keys[:i], key):
			c.repeats = true
		}
		if i < len(keys) {
			keys[i] = key
		}
		if depth == 1 && key == layer.ReservedKey {
			if !c.addressed {
				return invalid(start, "the key %s is reserved", key)
			}
			if err := c.channelsOf(before); err != nil {
				return err
			}
			continue
		}
		if err := c.value(depth); err != nil {
			return err
		}
	}
	return nil
}

// channelsOf checks the value of the reserved key, before which the size was
// before. Its values are not the message's.
func (c *checker) channelsOf(before int) error {
	at, values, most := c.off, c.values, c.most
	c.values, c.most = 0, MaxChannels
	err := c.value(1)
	c.values, c.most = values, most
	c.address, c.addressSize = at, c.size-before
	return err
}

// key reads a string, or bytes that could be one.
func (c *checker) key() (string, error) {
	start := c.off
	h, err := c.head()
	if err != nil {
		return "", err
	}
	if h.kind != kindString && h.kind != kindBytes {
		return "", invalid(start, "a key is not a string")
	}
	return c.text(h, "key")
}

func invalid(off int, format string, args ...any) error {
	err := fmt.Errorf("%w: at byte %d: "+format, append([]any{layer.ErrInvalidMessage, off}, args...)...)
	return &layer.Error{Op: "decode", Err: err}
}
