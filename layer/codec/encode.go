package codec

import (
	"bytes"
	"maps"
	"slices"

	"github.com/vmihailenco/msgpack/v5"

	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/layer/internal/msgpacksize"
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
	return write(dst, msg.Size(), func(e *msgpack.Encoder) error { return encodeMessage(e, msg) })
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
// which says for which channels of a process the message is, by their full
// names. As channels_redis has it, one name is written as a string, any other
// number as an array.
func AppendAddressed(dst []byte, msg layer.Message, channels ...string) ([]byte, error) {
	plain, err := Encode(msg)
	if err != nil {
		return dst, err
	}
	n := msg.Len()
	dst, err = write(dst, len(plain), func(e *msgpack.Encoder) error { return e.EncodeMapLen(n + 1) })
	if err != nil {
		return dst, err
	}
	dst = append(dst, plain[msgpacksize.Header(n):]...)
	return write(dst, msgpacksize.String(len(layer.ReservedKey)), func(e *msgpack.Encoder) error { return encodeAddress(e, channels) })
}

// write appends what the function encodes, about size bytes.
func write(dst []byte, size int, encode func(*msgpack.Encoder) error) ([]byte, error) {
	buf := bytes.NewBuffer(slices.Grow(dst, size))
	e := msgpack.GetEncoder()
	defer msgpack.PutEncoder(e)
	e.Reset(buf)
	if err := encode(e); err != nil {
		return dst, err
	}
	return buf.Bytes(), nil
}

func encodeMessage(e *msgpack.Encoder, msg layer.Message) error {
	if err := e.EncodeMapLen(msg.Len()); err != nil {
		return err
	}
	for key, v := range msg.All() {
		if err := encodeField(e, key, v); err != nil {
			return err
		}
	}
	return nil
}

func encodeAddress(e *msgpack.Encoder, channels []string) error {
	if err := e.EncodeString(layer.ReservedKey); err != nil {
		return err
	}
	if len(channels) == 1 {
		return e.EncodeString(channels[0])
	}
	if err := e.EncodeArrayLen(len(channels)); err != nil {
		return err
	}
	for _, name := range channels {
		if err := e.EncodeString(name); err != nil {
			return err
		}
	}
	return nil
}

func encodeField(e *msgpack.Encoder, key string, v any) error {
	if err := e.EncodeString(key); err != nil {
		return err
	}
	return encodeValue(e, v)
}

// encodeValue takes what a message holds. Encoder.Encode would too, but by
// reflection, and anyone can register another encoding of a type with it.
func encodeValue(e *msgpack.Encoder, v any) error {
	switch v := v.(type) {
	case bool:
		return e.EncodeBool(v)
	case int64:
		return e.EncodeInt(v)
	case float64:
		return e.EncodeFloat64(v)
	case string:
		return e.EncodeString(v)
	case []byte:
		return e.EncodeBytes(v)
	case []any:
		return encodeList(e, v)
	case map[string]any:
		return encodeMap(e, v)
	}
	return e.EncodeNil()
}

func encodeList(e *msgpack.Encoder, l []any) error {
	if err := e.EncodeArrayLen(len(l)); err != nil {
		return err
	}
	for _, v := range l {
		if err := encodeValue(e, v); err != nil {
			return err
		}
	}
	return nil
}

func encodeMap(e *msgpack.Encoder, m map[string]any) error {
	if err := e.EncodeMapLen(len(m)); err != nil {
		return err
	}
	keys := slices.AppendSeq(make([]string, 0, len(m)), maps.Keys(m))
	slices.Sort(keys)
	for _, key := range keys {
		if err := encodeField(e, key, m[key]); err != nil {
			return err
		}
	}
	return nil
}
