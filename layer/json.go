package layer

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/channellayer/channellayer/layer/internal/msgpacksize"
)

// ParseJSON makes a message of a JSON object. Numbers written as integers
// become int64, other numbers float64; where a key occurs twice, the last
// counts. Otherwise the rules of [NewMessage] hold. It is safe on bytes from
// outside: what holds far more values than a message may is refused before
// memory is spent on them. Bound the length of data before.
//
// The error matches [ErrInvalidMessage] (or [ErrMessageTooLarge]), and names
// the path to the value if data is JSON at all. It is also what Err of the
// returned message says.
func ParseJSON(data []byte) (Message, error) {
	var b builder
	d, bad := b.parseJSON(data)
	m := b.finish(d, bad)
	return m, m.Err()
}

// UnmarshalJSON implements [json.Unmarshaler] by [ParseJSON]. It replaces the
// variable it is called on; copies made of it before are not affected. As
// encoding/json asks, null changes nothing.
func (m *Message) UnmarshalJSON(data []byte) error {
	if string(data) == "null" {
		return nil
	}
	parsed, err := ParseJSON(data)
	if err != nil {
		return err
	}
	*m = parsed
	return nil
}

type jsonKey struct{}

// JSON returns the message as a JSON object, with its keys in order and
// nothing between tokens. Bytes become a string in standard base64; a float
// that is a whole number keeps a decimal point or an exponent, so that
// [ParseJSON] reads it as a float again. The characters <, > and & are escaped
// in strings: the result may stand in HTML.
//
// It is computed once and shared: do not change it. The error matches
// [ErrInvalidMessage] for a NaN or an infinity, which JSON does not have, and
// names the path to it.
func (m Message) JSON() ([]byte, error) {
	if err := m.Err(); err != nil {
		return nil, err
	}
	return m.Encoded(jsonKey{}, func() ([]byte, error) {
		out, bad := appendJSON(make([]byte, 0, m.Size()+m.Size()/2), m.fields())
		if bad != nil {
			return nil, bad.error("message")
		}
		return slices.Clip(out), nil
	})
}

// MarshalJSON implements [json.Marshaler]. It returns a copy of what JSON
// returns.
func (m Message) MarshalJSON() ([]byte, error) {
	b, err := m.JSON()
	return bytes.Clone(b), err
}

func (b *builder) parseJSON(data []byte) (dict, *badValue) {
	if !utf8.Valid(data) {
		return nil, invalid("JSON is not UTF-8")
	}
	if !bytes.HasPrefix(bytes.TrimLeft(data, jsonSpace), []byte("{")) {
		return nil, invalid("JSON is not an object")
	}
	if bad := guardJSON(data); bad != nil {
		return nil, bad
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	var fields map[string]any
	if err := dec.Decode(&fields); err != nil {
		return nil, invalid("JSON: %w", err)
	}
	if end := dec.InputOffset(); len(bytes.TrimLeft(data[end:], jsonSpace)) > 0 {
		return nil, invalid("JSON goes on after the object, at byte %d", end)
	}
	return b.message(fields)
}

const jsonSpace = " \t\r\n"

// guardJSON refuses what holds far too many values before memory is spent on
// them: there is a comma or a bracket in front of each.
func guardJSON(data []byte) *badValue {
	values := 0
	inString := false
	for i := 0; i < len(data); i++ {
		switch data[i] {
		case '"':
			inString = !inString
		case '\\':
			i++
		case ',', '[', '{':
			if !inString {
				values++
			}
		}
	}
	if values > 2*MaxValues {
		return invalid("more than %d values", MaxValues)
	}
	return nil
}

// number takes the text of a JSON number.
func (b *builder) number(text string) (any, *badValue) {
	if strings.ContainsAny(text, ".eE") {
		f, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return nil, invalid("number %.40q is not a float64", text)
		}
		return f, b.grow(9)
	}
	i, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return nil, invalid("number %.40q is not an int64", text)
	}
	return i, b.grow(msgpacksize.Int(i))
}

// sizeOf is the msgpack length of a value inside a message.
func sizeOf(v any) int {
	switch v := v.(type) {
	case int64:
		return msgpacksize.Int(v)
	case float64:
		return 9
	case string:
		return msgpacksize.String(len(v))
	case blob:
		return msgpacksize.Bytes(len(v))
	case list:
		n := msgpacksize.Header(len(v))
		for _, e := range v {
			n += sizeOf(e)
		}
		return n
	case dict:
		n := msgpacksize.Header(len(v))
		for _, f := range v {
			n += msgpacksize.String(len(f.key)) + sizeOf(f.value)
		}
		return n
	}
	return 1 // nil, bool
}

func appendJSON(b []byte, v any) ([]byte, *badValue) {
	switch v := v.(type) {
	case nil:
		return append(b, "null"...), nil
	case bool:
		return strconv.AppendBool(b, v), nil
	case int64:
		return strconv.AppendInt(b, v, 10), nil
	case float64:
		return appendJSONFloat(b, v)
	case string:
		return appendJSONString(b, v), nil
	case blob:
		b = append(b, '"')
		b = base64.StdEncoding.AppendEncode(b, []byte(v))
		return append(b, '"'), nil
	case list:
		return appendJSONList(b, v)
	case dict:
		return appendJSONDict(b, v)
	}
	return nil, invalid("%T", v) // a message holds no other type
}

func appendJSONList(b []byte, l list) ([]byte, *badValue) {
	b = append(b, '[')
	for i, e := range l {
		if i > 0 {
			b = append(b, ',')
		}
		var bad *badValue
		if b, bad = appendJSON(b, e); bad != nil {
			return nil, bad.under(indexStep(i))
		}
	}
	return append(b, ']'), nil
}

func appendJSONDict(b []byte, d dict) ([]byte, *badValue) {
	b = append(b, '{')
	for i, f := range d {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(appendJSONString(b, f.key), ':')
		var bad *badValue
		if b, bad = appendJSON(b, f.value); bad != nil {
			return nil, bad.under(keyStep(f.key))
		}
	}
	return append(b, '}'), nil
}

func appendJSONFloat(b []byte, f float64) ([]byte, *badValue) {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return nil, invalid("JSON has no %v", f)
	}
	return appendFloat(b, f), nil
}

// appendFloat writes the shortest text that reads back as f, and as a float.
func appendFloat(b []byte, f float64) []byte {
	start := len(b)
	format := byte('f')
	if abs := math.Abs(f); abs != 0 && (abs < 1e-6 || abs >= 1e21) {
		format = 'e'
	}
	b = strconv.AppendFloat(b, f, format, -1, 64)
	if !bytes.ContainsAny(b[start:], ".eNI") { // NaN and Inf, which only Format prints
		b = append(b, ".0"...)
	}
	return b
}

const hexDigits = "0123456789abcdef"

// appendJSONString writes a string that is known to be UTF-8. It escapes what
// encoding/json escapes.
func appendJSONString(b []byte, s string) []byte {
	b = append(b, '"')
	start := 0
	for i, r := range s {
		var escape string
		switch {
		case r == '"':
			escape = `\"`
		case r == '\\':
			escape = `\\`
		case r == '\n':
			escape = `\n`
		case r == '\r':
			escape = `\r`
		case r == '\t':
			escape = `\t`
		case r == 0x2028: // ends a line in older JavaScript
			escape = `\u2028`
		case r == 0x2029:
			escape = `\u2029`
		case r < 0x20 || r == '<' || r == '>' || r == '&':
			escape = `\u00` + string(hexDigits[r>>4]) + string(hexDigits[r&15])
		default:
			continue
		}
		b = append(append(b, s[start:i]...), escape...)
		start = i + utf8.RuneLen(r)
	}
	return append(append(b, s[start:]...), '"')
}

var (
	_ json.Marshaler   = Message{}
	_ json.Unmarshaler = (*Message)(nil)
)
