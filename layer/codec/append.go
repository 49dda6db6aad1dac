package codec

import (
	"encoding/binary"
	"math"
	"slices"

	"github.com/vmihailenco/msgpack/v5/msgpcode"

	"github.com/channellayer/channellayer/layer"
)

// Append appends the message's msgpack encoding to dst, [layer.Message.Size]
// bytes, and returns the extended slice. Keys come in order, each value in its
// smallest form, and floats in 64 bits: the bytes are those of Python's packb
// for the same dict in that order. The error is that of an invalid message;
// dst then comes back as it was.
func Append(dst []byte, msg layer.Message) ([]byte, error) {
	if err := msg.Err(); err != nil {
		return dst, err
	}
	dst = slices.Grow(dst, msg.Size())
	return appendFields(appendMapHead(dst, msg.Len()), msg), nil
}

type encodedKey struct{}

// Encode returns the message's msgpack encoding as [Append] writes it. It is
// computed once for a message (see [layer.Message.Encoded]), however many
// goroutines ask and wherever it is sent. The bytes are shared: nobody may
// change them.
func Encode(msg layer.Message) ([]byte, error) {
	return msg.Encoded(encodedKey{}, func() ([]byte, error) { return Append(nil, msg) })
}

// AppendAddressed is Append with the key [layer.ReservedKey] after the others,
// which says for which channels of a process the message is: their full names,
// at least one. As channels_redis has it, a single name is written as a string
// and several as an array.
func AppendAddressed(dst []byte, msg layer.Message, channels ...string) ([]byte, error) {
	b, err := Encode(msg)
	if err != nil {
		return dst, err
	}
	n := msg.Len()
	dst = appendMapHead(dst, n+1)
	dst = append(dst, b[containerSize(n):]...)
	dst = appendString(dst, layer.ReservedKey)
	if len(channels) == 1 {
		return appendString(dst, channels[0]), nil
	}
	dst = appendListHead(dst, len(channels))
	for _, name := range channels {
		dst = appendString(dst, name)
	}
	return dst, nil
}

func appendFields(b []byte, msg layer.Message) []byte {
	for key, v := range msg.All() {
		b = appendValue(appendString(b, key), v)
	}
	return b
}

// appendValue takes what a message holds.
func appendValue(b []byte, v any) []byte {
	switch v := v.(type) {
	case bool:
		if v {
			return append(b, msgpcode.True)
		}
		return append(b, msgpcode.False)
	case int64:
		return appendInt(b, v)
	case float64:
		return binary.BigEndian.AppendUint64(append(b, msgpcode.Double), math.Float64bits(v))
	case string:
		return appendString(b, v)
	case []byte:
		return append(appendSized(b, len(v), msgpcode.Bin8, msgpcode.Bin16, msgpcode.Bin32), v...)
	case []any:
		b = appendListHead(b, len(v))
		for _, e := range v {
			b = appendValue(b, e)
		}
		return b
	case map[string]any:
		b = appendMapHead(b, len(v))
		for _, key := range sortedKeys(v) {
			b = appendValue(appendString(b, key), v[key])
		}
		return b
	}
	return append(b, msgpcode.Nil)
}

func sortedKeys(m map[string]any) []string {
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

func appendInt(b []byte, i int64) []byte {
	switch {
	case i >= 0:
		return appendUint(b, uint64(i))
	case i >= -32:
		return append(b, byte(i))
	case i >= math.MinInt8:
		return append(b, msgpcode.Int8, byte(i))
	case i >= math.MinInt16:
		return binary.BigEndian.AppendUint16(append(b, msgpcode.Int16), uint16(i))
	case i >= math.MinInt32:
		return binary.BigEndian.AppendUint32(append(b, msgpcode.Int32), uint32(i))
	}
	return binary.BigEndian.AppendUint64(append(b, msgpcode.Int64), uint64(i))
}

func appendUint(b []byte, u uint64) []byte {
	switch {
	case u <= math.MaxInt8:
		return append(b, byte(u))
	case u <= math.MaxUint32:
		return appendSized(b, int(u), msgpcode.Uint8, msgpcode.Uint16, msgpcode.Uint32)
	}
	return binary.BigEndian.AppendUint64(append(b, msgpcode.Uint64), u)
}

func appendString(b []byte, s string) []byte {
	if len(s) < 32 {
		b = append(b, msgpcode.FixedStrLow|byte(len(s)))
	} else {
		b = appendSized(b, len(s), msgpcode.Str8, msgpcode.Str16, msgpcode.Str32)
	}
	return append(b, s...)
}

// appendSized appends n in the fewest bytes, after the code for that many.
func appendSized(b []byte, n int, one, two, four byte) []byte {
	if n <= math.MaxUint8 {
		return append(b, one, byte(n))
	}
	return appendLong(b, n, two, four)
}

func appendLong(b []byte, n int, two, four byte) []byte {
	if n <= math.MaxUint16 {
		return binary.BigEndian.AppendUint16(append(b, two), uint16(n))
	}
	return binary.BigEndian.AppendUint32(append(b, four), uint32(n))
}

func appendMapHead(b []byte, n int) []byte {
	if n < 16 {
		return append(b, msgpcode.FixedMapLow|byte(n))
	}
	return appendLong(b, n, msgpcode.Map16, msgpcode.Map32)
}

func appendListHead(b []byte, n int) []byte {
	if n < 16 {
		return append(b, msgpcode.FixedArrayLow|byte(n))
	}
	return appendLong(b, n, msgpcode.Array16, msgpcode.Array32)
}
