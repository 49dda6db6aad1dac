package redisconn

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

var errNotRESP = errors.New("the server does not speak RESP2")

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
		return h, false, errNotRESP
	}
	h.kind, h.line, h.end = b[at], b[at+1:at+length-1], at+length+1
	switch h.kind {
	case '+', '-':
		return h, true, nil
	case '$', '*', ':':
		h.n, err = decimal(h.line)
		return h, true, err
	}
	return h, false, errNotRESP
}

func decimal(b []byte) (n int, err error) {
	negative := len(b) > 0 && b[0] == '-'
	digits := b
	if negative {
		digits = b[1:]
	}
	if len(digits) == 0 || len(digits) > 18 {
		return 0, errNotRESP
	}
	for _, c := range digits {
		if c < '0' || c > '9' {
			return 0, errNotRESP
		}
		n = n*10 + int(c-'0')
	}
	if negative {
		n = -n
	}
	return n, nil
}

// ReplyError is an error that the server replied.
type ReplyError string

func (e ReplyError) Error() string { return string(e) }

// RedisError makes it a [redis.Error].
func (ReplyError) RedisError() {}

var _ redis.Error = ReplyError("")

// Read reads a reply that [Pipe.Fetch] has found to be whole, as the client
// library would: int64, string, nil, []any. The error is the server's, or says
// that the reply is none; in a list, the server's errors are values.
func Read(reply []byte) (any, error) {
	r := reader{b: reply}
	value := r.value()
	if r.deep {
		return nil, errNotRESP
	}
	if refused, ok := value.(ReplyError); ok {
		return nil, refused
	}
	return value, nil
}

type reader struct {
	b     []byte
	at    int
	depth int  // of the list that value is in
	deep  bool // it is in too many
}

func (r *reader) value() any {
	h, _, _ := headAt(r.b, r.at)
	r.at = h.end
	switch {
	case h.kind == ':':
		return int64(h.n)
	case h.kind == '+':
		return string(h.line)
	case h.kind == '-':
		return ReplyError(h.line)
	case h.n < 0:
		return nil
	case h.kind == '$':
		r.at += h.n + 2
		return string(r.b[h.end : h.end+h.n])
	}
	if r.depth++; r.depth > maxDepth {
		r.deep = true
	}
	list := make([]any, 0, min(h.n, 1024))
	for i := 0; i < h.n && !r.deep; i++ {
		list = append(list, r.value())
	}
	r.depth--
	return list
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

// AppendCommand appends a command in the form in which it is sent. Words are
// strings, bytes and integers.
func AppendCommand(b []byte, words ...any) []byte {
	b = append(b, '*')
	b = strconv.AppendInt(b, int64(len(words)), 10)
	b = append(b, "\r\n"...)
	var digits [20]byte
	for _, word := range words {
		switch w := word.(type) {
		case string:
			b = appendBulk(b, w)
		case []byte:
			b = appendBulk(b, w)
		case int:
			b = appendBulk(b, strconv.AppendInt(digits[:0], int64(w), 10))
		case int64:
			b = appendBulk(b, strconv.AppendInt(digits[:0], w, 10))
		default:
			panic(fmt.Sprintf("redisconn: a command with a %T", word)) // written in this module
		}
	}
	return b
}

func appendBulk[T string | []byte](b []byte, s T) []byte {
	b = append(b, '$')
	b = strconv.AppendInt(b, int64(len(s)), 10)
	b = append(b, "\r\n"...)
	b = append(b, s...)
	return append(b, "\r\n"...)
}
