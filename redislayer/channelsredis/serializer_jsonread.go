package channelsredis

import (
	"math"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/layer/codec"
)

// jsonParser reads the JSON that Python's json module writes and reads.
// encoding/json would not do: it refuses NaN and the infinities, and makes
// U+FFFD of half a surrogate pair. text is UTF-8.
type jsonParser struct {
	text   string
	at     int
	values int // so far, inside the maps and lists
	most   int // of them
}

// document reads one object, and nothing after it.
func (p *jsonParser) document() (map[string]any, error) {
	p.space()
	if !p.take("{") {
		return nil, p.bad("no object")
	}
	fields, err := p.object(1)
	if err != nil {
		return nil, err
	}
	p.space()
	if p.at < len(p.text) {
		return nil, p.bad("more after the object")
	}
	return fields, nil
}

func (p *jsonParser) bad(format string, args ...any) error {
	return undecodable("JSON at byte %d: "+format, append([]any{p.at}, args...)...)
}

func (p *jsonParser) space() {
	for p.at < len(p.text) && strings.IndexByte(" \t\r\n", p.text[p.at]) >= 0 {
		p.at++
	}
}

// take passes over what is next, if that is word.
func (p *jsonParser) take(word string) bool {
	if !strings.HasPrefix(p.text[p.at:], word) {
		return false
	}
	p.at += len(word)
	return true
}

// value reads a value in a container at depth.
func (p *jsonParser) value(depth int) (any, error) {
	if p.values++; p.values > p.most {
		return nil, p.bad("more than %d values", p.most)
	}
	p.space()
	switch {
	case p.take(`"`):
		return p.string()
	case p.take("{"):
		return p.object(depth + 1)
	case p.take("["):
		return p.list(depth + 1)
	case p.take("null"):
		return nil, nil
	case p.take("true"):
		return true, nil
	case p.take("false"):
		return false, nil
	case p.take("NaN"):
		return math.NaN(), nil
	case p.take("Infinity"):
		return math.Inf(1), nil
	case p.take("-Infinity"):
		return math.Inf(-1), nil
	}
	return p.number()
}

// object reads what follows "{".
func (p *jsonParser) object(depth int) (map[string]any, error) {
	if depth > layer.MaxDepth {
		return nil, p.bad("nested deeper than %d", layer.MaxDepth)
	}
	fields := map[string]any{}
	if p.space(); p.take("}") {
		return fields, nil
	}
	for {
		if p.space(); !p.take(`"`) {
			return nil, p.bad("no key")
		}
		key, err := p.string()
		if err != nil {
			return nil, err
		}
		if p.space(); !p.take(":") {
			return nil, p.bad("no ':' after a key")
		}
		if fields[key], err = p.valueOf(key, depth); err != nil {
			return nil, err
		}
		p.space()
		if p.take("}") {
			return fields, nil
		}
		if !p.take(",") {
			return nil, p.bad("neither ',' nor '}' after a value")
		}
	}
}

// valueOf reads the value of a key. The channels that a message is for are no
// values of the message.
func (p *jsonParser) valueOf(key string, depth int) (any, error) {
	if depth > 1 || key != layer.ReservedKey {
		return p.value(depth)
	}
	apart := *p
	apart.values, apart.most = 0, codec.MaxChannels+1
	v, err := apart.value(depth)
	p.at = apart.at
	return v, err
}

// list reads what follows "[".
func (p *jsonParser) list(depth int) ([]any, error) {
	if depth > layer.MaxDepth {
		return nil, p.bad("nested deeper than %d", layer.MaxDepth)
	}
	list := []any{}
	if p.space(); p.take("]") {
		return list, nil
	}
	for {
		v, err := p.value(depth)
		if err != nil {
			return nil, err
		}
		list = append(list, v)
		p.space()
		if p.take("]") {
			return list, nil
		}
		if !p.take(",") {
			return nil, p.bad("neither ',' nor ']' after a value")
		}
	}
}

// number reads -?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?. What follows is
// looked at by whoever expects something there.
func (p *jsonParser) number() (any, error) {
	start := p.at
	p.take("-")
	if !p.take("0") && p.digits() == 0 {
		p.at = start
		return nil, p.bad("no value")
	}
	float := false
	if mark := p.at; p.take(".") {
		if float = p.digits() > 0; !float {
			p.at = mark
		}
	}
	if mark := p.at; p.take("e") || p.take("E") {
		if !p.take("-") {
			p.take("+")
		}
		if p.digits() > 0 {
			float = true
		} else {
			p.at = mark
		}
	}
	text := p.text[start:p.at]
	if float {
		f, _ := strconv.ParseFloat(text, 64) // out of range is an infinity, or 0
		return f, nil
	}
	i, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		p.at = start
		return nil, p.bad("integer %.40s is outside int64", text)
	}
	return i, nil
}

// digits passes over digits, and returns their number.
func (p *jsonParser) digits() int {
	start := p.at
	for p.at < len(p.text) && p.text[p.at] >= '0' && p.text[p.at] <= '9' {
		p.at++
	}
	return p.at - start
}

// string reads what follows the first quote.
func (p *jsonParser) string() (string, error) {
	start := p.at
	var b []byte // nil while there is no escape
	for p.at < len(p.text) {
		switch c := p.text[p.at]; {
		case c == '"':
			s := p.text[start:p.at]
			p.at++
			if b != nil {
				return string(append(b, s...)), nil
			}
			return s, nil
		case c == '\\':
			b = append(b, p.text[start:p.at]...)
			p.at++
			r, err := p.escape()
			if err != nil {
				return "", err
			}
			b = utf8.AppendRune(b, r)
			start = p.at
		case c < ' ':
			return "", p.bad("a control character in a string")
		default:
			p.at++
		}
	}
	return "", p.bad("it ends in a string")
}

// escape reads what follows a backslash.
func (p *jsonParser) escape() (rune, error) {
	if p.at == len(p.text) {
		return 0, p.bad("it ends in a string")
	}
	c := p.text[p.at]
	if i := strings.IndexByte(`"\/bfnrt`, c); i >= 0 {
		p.at++
		return rune("\"\\/\b\f\n\r\t"[i]), nil
	}
	if c != 'u' {
		return 0, p.bad("no such escape")
	}
	r, err := p.codeUnit()
	if err != nil || !utf16.IsSurrogate(r) {
		return r, err
	}
	at := p.at
	if p.take(`\`) && strings.HasPrefix(p.text[p.at:], "u") {
		low, err := p.codeUnit()
		if err != nil {
			return 0, err
		}
		if pair := utf16.DecodeRune(r, low); pair != utf8.RuneError {
			return pair, nil
		}
	}
	p.at = at
	return 0, p.bad("half a surrogate pair, which is no character")
}

// codeUnit reads u and four hexadecimal digits.
func (p *jsonParser) codeUnit() (rune, error) {
	digits := p.text[p.at+1:]
	if len(digits) < 4 {
		return 0, p.bad("it ends in a string")
	}
	n, err := strconv.ParseUint(digits[:4], 16, 16)
	if err != nil || strings.ContainsAny(digits[:4], "+_") {
		return 0, p.bad("\\u without four hexadecimal digits")
	}
	p.at += 5
	return rune(n), nil
}
