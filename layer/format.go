package layer

import (
	"fmt"
	"strconv"
)

// Format implements [fmt.Formatter]: for every verb it prints the fields in
// the order of their keys, for logs and for test failures, on one line
// whatever they hold. A float always shows a point, an exponent, NaN or Inf,
// so that it does not look like an integer.
func (m Message) Format(s fmt.State, _ rune) {
	if err := m.Err(); err != nil {
		fmt.Fprintf(s, "message(%v)", err)
		return
	}
	s.Write(appendText([]byte("message"), m.fields()))
}

var _ fmt.Formatter = Message{}

func appendText(b []byte, v any) []byte {
	switch v := v.(type) {
	case string:
		return strconv.AppendQuote(b, v)
	case float64:
		return appendFloat(b, v)
	case blob:
		return append(strconv.AppendQuote(append(b, "[]byte("...), string(v)), ')')
	case list:
		b = append(b, '[')
		for i, e := range v {
			b = appendText(appendComma(b, i), e)
		}
		return append(b, ']')
	case dict:
		b = append(b, '{')
		for i, f := range v {
			b = append(append(appendComma(b, i), quoteUnlessPlain(f.key)...), ": "...)
			b = appendText(b, f.value)
		}
		return append(b, '}')
	}
	return fmt.Append(b, v) // <nil>, bool, int64
}

func appendComma(b []byte, i int) []byte {
	if i == 0 {
		return b
	}
	return append(b, ", "...)
}

func quoteUnlessPlain(key string) string {
	if key == "" || badByte(key) >= 0 {
		return strconv.Quote(key)
	}
	return key
}
