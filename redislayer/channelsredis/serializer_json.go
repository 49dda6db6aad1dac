package channelsredis

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/channellayer/channellayer/layer"
)

// JSON is the [Serializer] that channels_redis, from 4.2.1, calls "json": what
// it writes is, byte for byte, what Python's json.dumps writes for the same
// dict with its keys in order (", " and ": " between tokens, everything outside
// ASCII escaped, NaN, Infinity and -Infinity as they are), and it reads what
// json.loads reads from UTF-8, as far as a message may hold it:
//
//   - A number with a point or an exponent is a float64 (too large is an
//     infinity, as in Python), any other an int64. Python's integers have any
//     length; a message that holds one outside int64 is refused as a whole,
//     counted and reported. To carry larger ones, write them as strings.
//   - Where a key comes twice, the last counts.
//   - Half a surrogate pair ("\ud800"), which Python can write and no UTF-8
//     string can hold, is refused.
//
// JSON has no bytes: sending a message that holds some is
// [layer.ErrInvalidMessage], where Python raises TypeError. Encode them as a
// string first. It is computed for each send and each receipt; [MsgPack] is
// several times faster.
type JSON struct{}

// Append implements [Serializer].
func (JSON) Append(dst []byte, msg layer.Message, address any) ([]byte, error) {
	if err := msg.Err(); err != nil {
		return dst, err
	}
	out, first := append(dst, '{'), true
	next := func(key string) {
		if !first {
			out = append(out, ", "...)
		}
		first = false
		out = append(appendJSONString(out, key), ": "...)
	}
	for key, value := range msg.All() {
		next(key)
		var err error
		if out, err = appendJSON(out, value, key); err != nil {
			return dst, err
		}
	}
	switch address := address.(type) {
	case nil:
	case string:
		next(layer.ReservedKey)
		out = appendJSONString(out, address)
	case []string:
		next(layer.ReservedKey)
		out = append(out, '[')
		for i, name := range address {
			if i > 0 {
				out = append(out, ", "...)
			}
			out = appendJSONString(out, name)
		}
		out = append(out, ']')
	default:
		return dst, badAddress(address)
	}
	return append(out, '}'), nil
}

// appendJSON takes what a message holds. path leads to the value.
func appendJSON(b []byte, value any, path string) ([]byte, error) {
	var err error
	switch v := value.(type) {
	case nil:
		return append(b, "null"...), nil
	case bool:
		return strconv.AppendBool(b, v), nil
	case int64:
		return strconv.AppendInt(b, v, 10), nil
	case float64:
		return appendJSONFloat(b, v), nil
	case string:
		return appendJSONString(b, v), nil
	case []any:
		b = append(b, '[')
		for i, e := range v {
			if i > 0 {
				b = append(b, ", "...)
			}
			if b, err = appendJSON(b, e, path+"["+strconv.Itoa(i)+"]"); err != nil {
				return nil, err
			}
		}
		return append(b, ']'), nil
	case map[string]any:
		b = append(b, '{')
		for i, key := range slices.Sorted(maps.Keys(v)) {
			if i > 0 {
				b = append(b, ", "...)
			}
			b = append(appendJSONString(b, key), ": "...)
			if b, err = appendJSON(b, v[key], path+"."+key); err != nil {
				return nil, err
			}
		}
		return append(b, '}'), nil
	}
	return nil, &layer.Error{Op: "serialize", Name: path, Err: fmt.Errorf("%w: JSON has no bytes", layer.ErrInvalidMessage)}
}

// appendJSONFloat writes a float as Python's repr does: the shortest digits
// that read back as f, with an exponent below 1e-4 and from 1e16 on.
func appendJSONFloat(b []byte, f float64) []byte {
	switch {
	case math.IsNaN(f):
		return append(b, "NaN"...)
	case math.IsInf(f, 1):
		return append(b, "Infinity"...)
	case math.IsInf(f, -1):
		return append(b, "-Infinity"...)
	}
	if abs := math.Abs(f); abs != 0 && (abs < 1e-4 || abs >= 1e16) {
		return strconv.AppendFloat(b, f, 'e', -1, 64)
	}
	b = strconv.AppendFloat(b, f, 'f', -1, 64)
	if f == math.Trunc(f) {
		b = append(b, ".0"...)
	}
	return b
}

// appendJSONString writes a string. What of it is no UTF-8 becomes U+FFFD.
func appendJSONString(b []byte, s string) []byte {
	b = append(b, '"')
	start, width := 0, 0
	for i := 0; i < len(s); i += width {
		var r rune
		r, width = utf8.DecodeRuneInString(s[i:]) // 1 byte of what is no UTF-8
		if r >= ' ' && r <= '~' && r != '"' && r != '\\' {
			continue
		}
		b = append(b, s[start:i]...)
		start = i + width
		switch r {
		case '"', '\\':
			b = append(b, '\\', byte(r))
		case '\n':
			b = append(b, '\\', 'n')
		case '\r':
			b = append(b, '\\', 'r')
		case '\t':
			b = append(b, '\\', 't')
		case '\f':
			b = append(b, '\\', 'f')
		case '\b':
			b = append(b, '\\', 'b')
		default:
			if high, low := utf16.EncodeRune(r); high != utf8.RuneError {
				b = appendUnicodeEscape(b, high)
				r = low
			}
			b = appendUnicodeEscape(b, r)
		}
	}
	return append(append(b, s[start:]...), '"')
}

func appendUnicodeEscape(b []byte, r rune) []byte {
	const hex = "0123456789abcdef"
	return append(b, '\\', 'u', hex[r>>12&15], hex[r>>8&15], hex[r>>4&15], hex[r&15])
}

// Decode implements [Serializer].
func (JSON) Decode(b []byte) (layer.Message, []string, error) {
	if !utf8.Valid(b) {
		return layer.Message{}, nil, undecodable("JSON is not UTF-8")
	}
	p := jsonParser{text: string(b), most: layer.MaxValues}
	fields, err := p.document()
	if err != nil {
		return layer.Message{}, nil, err
	}
	return addressedMessage(fields)
}

var _ Serializer = JSON{}
