package pypeer

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strconv"
	"time"
)

// Source is a value by its Python expression, such as "(1, 2)" or "'\\ud800'".
type Source string

// Pack is msgpack.packb, with channels_redis's arguments.
func (p *Process) Pack(value any) ([]byte, error) { return p.bytes("packb", value) }

// Unpack is msgpack.unpackb.
func (p *Process) Unpack(b []byte) (any, error) { return p.value("unpackb", b) }

// DumpJSON is json.dumps, as UTF-8.
func (p *Process) DumpJSON(value any) ([]byte, error) { return p.bytes("dumps", value) }

// LoadJSON is json.loads of bytes.
func (p *Process) LoadJSON(b []byte) (any, error) { return p.value("loads", b) }

// Serialize is serialize of channels_redis's serializer for the format, without
// random bytes; with keys, it encrypts. See [HasSerializers].
func (p *Process) Serialize(format string, keys []string, message any) ([]byte, error) {
	return p.bytesOf("serialize", map[string]any{"format": format, "keys": keys, "value": tagged(message)})
}

// Deserialize is that serializer's deserialize.
func (p *Process) Deserialize(format string, keys []string, b []byte) (any, error) {
	result, err := p.call("deserialize", map[string]any{"format": format, "keys": keys, "value": tagged(b)})
	if err != nil {
		return nil, err
	}
	return untagged(result)
}

// Encrypt makes a Fernet token, with the key derived as channels_redis does.
func (p *Process) Encrypt(key string, plain []byte) ([]byte, error) {
	return p.bytesOf("encrypt", map[string]any{"key": key, "value": tagged(plain)})
}

// Decrypt opens a Fernet token that is not older than maxAge, unless that is 0.
func (p *Process) Decrypt(key string, token []byte, maxAge time.Duration) ([]byte, error) {
	args := map[string]any{"key": key, "value": tagged(token), "ttl": nil}
	if maxAge > 0 {
		args["ttl"] = int(maxAge / time.Second)
	}
	return p.bytesOf("decrypt", args)
}

func (p *Process) bytes(op string, value any) ([]byte, error) {
	return p.bytesOf(op, map[string]any{"value": tagged(value)})
}

func (p *Process) bytesOf(op string, args map[string]any) ([]byte, error) {
	result, err := p.call(op, args)
	if err != nil {
		return nil, err
	}
	v, err := untagged(result)
	b, _ := v.([]byte)
	return b, err
}

func (p *Process) value(op string, b []byte) (any, error) {
	result, err := p.call(op, map[string]any{"value": tagged(b)})
	if err != nil {
		return nil, err
	}
	return untagged(result)
}

// tagged is the form of a value in which it goes through JSON: what JSON does
// not have is a map with one key, which says what it is.
func tagged(v any) any {
	switch v := v.(type) {
	case float64:
		return map[string]any{"float": strconv.FormatFloat(v, 'g', -1, 64)}
	case []byte:
		return map[string]any{"bytes": v}
	case Source:
		return map[string]any{"source": string(v)}
	case []any:
		list := make([]any, len(v))
		for i, e := range v {
			list[i] = tagged(e)
		}
		return list
	case map[string]any:
		pairs := make([]any, 0, len(v))
		for _, key := range slices.Sorted(maps.Keys(v)) {
			pairs = append(pairs, []any{key, tagged(v[key])})
		}
		return map[string]any{"map": pairs}
	}
	return v
}

func untagged(text json.RawMessage) (any, error) {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		return nil, err
	}
	return untag(v)
}

func untag(v any) (any, error) {
	switch v := v.(type) {
	case json.Number:
		if i, err := v.Int64(); err == nil {
			return i, nil
		}
		i, ok := new(big.Int).SetString(v.String(), 10)
		if !ok {
			return nil, fmt.Errorf("pypeer: %s is no integer", v)
		}
		return i, nil
	case []any:
		list := make([]any, len(v))
		for i, e := range v {
			var err error
			if list[i], err = untag(e); err != nil {
				return nil, err
			}
		}
		return list, nil
	case map[string]any:
		for tag, inner := range v {
			return untagAs(tag, inner)
		}
	}
	return v, nil
}

func untagAs(tag string, inner any) (any, error) {
	switch inner := inner.(type) {
	case string:
		if tag == "float" {
			return strconv.ParseFloat(inner, 64)
		}
		return base64.StdEncoding.DecodeString(inner)
	case []any:
		m := make(map[string]any, len(inner))
		for _, pair := range inner {
			pair := pair.([]any)
			key, err := untag(pair[0])
			if err != nil {
				return nil, err
			}
			if m[fmt.Sprint(key)], err = untag(pair[1]); err != nil {
				return nil, err
			}
		}
		return m, nil
	}
	return nil, fmt.Errorf("pypeer: %s of %T", tag, inner)
}
