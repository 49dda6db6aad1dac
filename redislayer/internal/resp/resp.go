package resp

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"

	"github.com/redis/go-redis/v9"
)

// Bounds of a reply: what exceeds them is none that Redis has for us.
const (
	maxString = 512 << 20 // bytes, as Redis has it
	maxValues = 1 << 24   // still to come
	maxDepth  = 16        // of lists in lists
)

// head is the line that begins a value.
type head struct {
	kind byte
	n    int // the number in it, of '$', '*' and ':'
	line []byte
	end  int // where the line ends
}

// headAt reads the line at b[at:]; ok is false if its end is not there yet.
func headAt(b []byte, at int) (h head, ok bool, err error) {
	length := bytes.IndexByte(b[at:], '\n')
	if length < 0 {
		return h, false, nil
	}
	if length < 2 {
		return h, false, ErrNotRESP
	}
	h.kind, h.line, h.end = b[at], b[at+1:at+length-1], at+length+1
	switch h.kind {
	case '+', '-':
		return h, true, nil
	case '$', '*', ':':
		h.n, err = Decimal(h.line)
		return h, true, err
	}
	return h, false, ErrNotRESP
}

// ErrNotRESP says that what comes is no reply, or one beyond all bounds.
var ErrNotRESP = errors.New("the server does not speak RESP2")

// Decimal reads a number.
func Decimal(b []byte) (n int, err error) {
	negative := len(b) > 0 && b[0] == '-'
	digits := b
	if negative {
		digits = b[1:]
	}
	if len(digits) == 0 || len(digits) > 18 {
		return 0, ErrNotRESP
	}
	for _, c := range digits {
		if c < '0' || c > '9' {
			return 0, ErrNotRESP
		}
		n = n*10 + int(c-'0')
	}
	if negative {
		n = -n
	}
	return n, nil
}

// Error is an error that the server replied.
type Error string

func (e Error) Error() string { return string(e) }

// RedisError makes it a [redis.Error].
func (e Error) RedisError() {}

var _ redis.Error = Error("")

// Values walks over a reply that [Pipe.Fetch] has found to be whole.
type Values struct {
	b     []byte
	at    int
	depth int  // of the list that value is in
	deep  bool // it is in too many
}

// Over returns what walks over a whole reply.
func Over(reply []byte) *Values { return &Values{b: reply} }

func (v *Values) head() head {
	h, _, _ := headAt(v.b, v.at)
	v.at = h.end
	return h
}

// List returns how many Values follow, or -1 if what comes is no list.
func (v *Values) List() int {
	if h := v.head(); h.kind == '*' {
		return h.n
	}
	return -1
}

// Bytes returns a string in place, or nil if what comes is none.
func (v *Values) Bytes() []byte {
	h := v.head()
	if h.kind != '$' || h.n < 0 {
		return nil
	}
	b := v.b[h.end : h.end+h.n : h.end+h.n]
	v.at = h.end + h.n + 2
	return b
}

// Value returns a value as the client would: int64, string, nil, []any, or an
// error, which may also be in a list. If lists are too deep it sets deep.
func (v *Values) Value() any {
	switch at := v.at; v.b[at] {
	case ':':
		return int64(v.head().n)
	case '+':
		return string(v.head().line)
	case '-':
		return Error(v.head().line)
	case '$':
		b := v.Bytes()
		if b == nil {
			return nil
		}
		return string(b)
	}
	h := v.head()
	if h.n < 0 {
		return nil
	}
	if v.depth++; v.depth > maxDepth {
		v.deep = true
	}
	list := make([]any, 0, min(h.n, 1024))
	for i := 0; i < h.n && !v.deep; i++ {
		list = append(list, v.Value())
	}
	v.depth--
	return list
}

// Read reads a whole reply, as Value does. The error is the server's, or says that
// the reply is none; in a list, the server's errors are values.
func Read(reply []byte) (any, error) {
	v := Values{b: reply}
	value := v.Value()
	if v.deep {
		return nil, ErrNotRESP
	}
	if refused, ok := value.(Error); ok {
		return nil, refused
	}
	return value, nil
}

// Strings returns the strings of a whole reply that is a list, as parts of it.
func Strings(reply string) []string {
	b := []byte(reply)
	h, _, _ := headAt(b, 0)
	list := make([]string, 0, max(0, min(h.n, len(b)/4)))
	for at := h.end; at < len(b); {
		if h, _, _ = headAt(b, at); h.kind == '$' && h.n >= 0 {
			list = append(list, reply[h.end:h.end+h.n])
			h.end += h.n + 2
		}
		at = h.end
	}
	return list
}

// Pieces is a word of a request that consists of two parts, which need not be put
// together before.
type Pieces [2][]byte

// Len is how many bytes the word has.
func (p Pieces) Len() int { return len(p[0]) + len(p[1]) }

// AppendRequest appends a command in the form in which it is sent. Words are
// strings, bytes, [Pieces] and integers.
func AppendRequest(b []byte, words ...any) []byte {
	b = append(b, '*')
	b = strconv.AppendInt(b, int64(len(words)), 10)
	b = append(b, "\r\n"...)
	var number [20]byte
	for _, word := range words {
		switch w := word.(type) {
		case string:
			b = appendWordHead(b, len(w))
			b = append(b, w...)
		case []byte:
			b = appendWordHead(b, len(w))
			b = append(b, w...)
		case Pieces:
			b = appendWordHead(b, w.Len())
			b = append(append(b, w[0]...), w[1]...)
		case int:
			n := strconv.AppendInt(number[:0], int64(w), 10)
			b = append(appendWordHead(b, len(n)), n...)
		case int64:
			n := strconv.AppendInt(number[:0], w, 10)
			b = append(appendWordHead(b, len(n)), n...)
		case uint64:
			n := strconv.AppendUint(number[:0], w, 10)
			b = append(appendWordHead(b, len(n)), n...)
		default:
			panic(fmt.Sprintf("resp: a request with a %T", word)) // written here
		}
		b = append(b, "\r\n"...)
	}
	return b
}

func appendWordHead(b []byte, length int) []byte {
	b = append(b, '$')
	b = strconv.AppendInt(b, int64(length), 10)
	return append(b, "\r\n"...)
}
