package channelsredis

import (
	"fmt"
	"slices"

	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/layer/codec"
)

// Serializer is the format that messages have on the wire, before encryption.
// All processes on a bus, Python's included, must use the same one. [MsgPack]
// is the default of channels_redis and of this package, [JSON] is what it calls
// "json", and a [CustomSerializer] is for any other.
//
// The methods may be called concurrently and must not block.
type Serializer interface {
	// Append appends the message's encoding to dst and returns the extended
	// slice. Where address is not nil, the message's map gets one more field,
	// [layer.ReservedKey], which says for which channels of a process the
	// message is: address is a string (one channel) or a []string.
	//
	// The error is msg.Err() or matches [layer.ErrInvalidMessage] for what the
	// format cannot hold; dst then comes back as it was.
	Append(dst []byte, msg layer.Message, address any) ([]byte, error)

	// Decode makes a message of its encoding, which may come from anyone, and
	// takes the address out of it: nil if there is none. It keeps nothing of b.
	//
	// The error matches [layer.ErrInvalidMessage] or [layer.ErrMessageTooLarge].
	Decode(b []byte) (msg layer.Message, address []string, err error)
}

// MsgPack is the default [Serializer]: what it writes is, byte for byte, what
// Python's msgpack.packb writes for the same dict with its keys in order, and
// it reads what msgpack.unpackb reads, as far as a message may hold it (package
// codec has the table). The one difference that matters in practice: Python
// goes up to 2^64-1 and a [layer.Message] to 2^63-1, so a message that holds a
// larger integer is refused, counted and reported.
//
// A message is encoded once however often it is sent, and decoded when
// somebody first looks at it.
type MsgPack struct{}

// Append implements [Serializer].
func (MsgPack) Append(dst []byte, msg layer.Message, address any) ([]byte, error) {
	switch address := address.(type) {
	case nil:
		plain, err := codec.Encode(msg)
		return append(dst, plain...), err
	case string:
		return codec.AppendAddressed(dst, msg, address)
	case []string:
		out, err := codec.AppendAddressed(dst, msg, address...)
		if err == nil && len(address) == 1 {
			// It stands last, as a string; Python's group send writes an array.
			out = slices.Insert(out, len(out)-packedString(address[0]), packedArrayOfOne)
		}
		return out, err
	}
	return dst, badAddress(address)
}

// packedArrayOfOne is msgpack's head of an array with one element.
const packedArrayOfOne = 0x91

// packedString is how many bytes msgpack takes for a name.
func packedString(name string) int {
	switch n := len(name); {
	case n < 32:
		return 1 + n
	case n < 1<<8:
		return 2 + n
	case n < 1<<16:
		return 3 + n
	default:
		return 5 + n
	}
}

// Decode implements [Serializer].
func (MsgPack) Decode(b []byte) (layer.Message, []string, error) {
	return codec.DecodeAddressed(b)
}

// CustomSerializer makes a [Serializer] of two functions, the counterpart of a
// serializer class that was registered with channels_redis. Both are needed;
// both may be called concurrently.
type CustomSerializer struct {
	// Marshal encodes the fields of a message, which are of the types that
	// [layer.Message] names. The map is its own to keep.
	Marshal func(fields map[string]any) ([]byte, error)

	// Unmarshal decodes what any process may have written. It returns fields
	// that [layer.NewMessage] takes, and keeps nothing of b, which it must not
	// change.
	Unmarshal func(b []byte) (fields map[string]any, err error)
}

// Append implements [Serializer].
func (c CustomSerializer) Append(dst []byte, msg layer.Message, address any) ([]byte, error) {
	if err := msg.Err(); err != nil {
		return dst, err
	}
	fields := msg.Map()
	switch address := address.(type) {
	case nil:
	case string:
		fields[layer.ReservedKey] = address
	case []string:
		names := make([]any, len(address))
		for i, name := range address {
			names[i] = name
		}
		fields[layer.ReservedKey] = names
	default:
		return dst, badAddress(address)
	}
	encoded, err := c.Marshal(fields)
	if err != nil {
		return dst, &layer.Error{Op: "serialize", Err: fmt.Errorf("%w: %w", layer.ErrInvalidMessage, err)}
	}
	return append(dst, encoded...), nil
}

// Decode implements [Serializer].
func (c CustomSerializer) Decode(b []byte) (layer.Message, []string, error) {
	fields, err := c.Unmarshal(b)
	if err != nil {
		return layer.Message{}, nil, undecodable("%w", err)
	}
	if fields == nil {
		return layer.Message{}, nil, undecodable("not a map")
	}
	return addressedMessage(fields)
}

// addressedMessage makes a message of the fields, and takes the address out of
// them first.
func addressedMessage(fields map[string]any) (layer.Message, []string, error) {
	address, err := takeAddress(fields)
	if err != nil {
		return layer.Message{}, nil, err
	}
	msg := layer.NewMessage(fields)
	if err := msg.Err(); err != nil {
		return layer.Message{}, nil, err
	}
	return msg, address, nil
}

func takeAddress(fields map[string]any) ([]string, error) {
	value, ok := fields[layer.ReservedKey]
	if !ok {
		return nil, nil
	}
	delete(fields, layer.ReservedKey)
	switch value := value.(type) {
	case string:
		return []string{value}, nil
	case []any:
		names := make([]string, len(value))
		for i, v := range value {
			if names[i], ok = v.(string); !ok {
				return nil, undecodable("a channel in %s is not a string", layer.ReservedKey)
			}
		}
		return names, nil
	}
	return nil, undecodable("%s is neither a string nor an array", layer.ReservedKey)
}

func undecodable(format string, args ...any) error {
	return &layer.Error{Op: "decode", Err: fmt.Errorf("%w: "+format, append([]any{layer.ErrInvalidMessage}, args...)...)}
}

// badAddress is the error of a caller's mistake.
func badAddress(address any) error {
	return &layer.Error{Op: "serialize", Err: layer.NotSent(fmt.Errorf("an address is a string or []string, not %T", address))}
}

var _, _ Serializer = MsgPack{}, CustomSerializer{}
