package redislayer

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

// pipe is a connection below the client that made it, for what is sent often:
// requests are written as bytes, and replies read in place. The client and the
// pipe take turns, each with whole replies, so neither holds bytes that are for
// the other. One goroutine at a time uses it.
type pipe struct {
	net net.Conn

	asking bool // every request is preceded by ASKING, whose reply nobody sees
	asked  bool // that reply was read, and the request's own is next

	in      []byte
	r, w    int // in[r:w] was read and not used yet
	scanned int // so much of in[r:w] is known to belong to one reply
	left    int // and how many values of it are to come; 0 before a reply
}

func newPipe(c net.Conn) *pipe { return &pipe{net: c, in: make([]byte, 16<<10)} }

// Bounds of a pipe's buffer.
const (
	minRead    = 4 << 10 // room for one read, at least
	keepBuffer = 1 << 20 // a larger one is let go when it is empty
)

// Bounds of a reply: what exceeds them is none that Redis has for us.
const (
	maxString = 512 << 20 // bytes, as Redis has it
	maxValues = 1 << 24   // still to come
	maxDepth  = 16        // of lists in lists
)

// write sends requests. The deadline is also that of reading their replies.
func (p *pipe) write(requests []byte, timeout time.Duration) error {
	if p.asking {
		requests = withAsking(requests)
	}
	p.net.SetDeadline(time.Now().Add(timeout))
	_, err := p.net.Write(requests)
	return err
}

// extend sets another deadline for reading.
func (p *pipe) extend(timeout time.Duration) { p.net.SetReadDeadline(time.Now().Add(timeout)) }

// interrupt ends a read that is under way, which can then be done again. It may
// be called by anyone.
func (p *pipe) interrupt() { p.net.SetReadDeadline(time.Unix(1, 0)) }

// fetch waits for one whole reply. The bytes are good until the next fetch. An
// error of the connection leaves what was read in place: after an interruption
// fetch goes on where it was.
func (p *pipe) fetch() ([]byte, error) {
	if p.asking && !p.asked {
		if _, err := p.fetchNext(); err != nil {
			return nil, err
		}
	}
	reply, err := p.fetchNext()
	p.asked = err != nil
	return reply, err
}

func (p *pipe) fetchNext() ([]byte, error) {
	if p.left == 0 {
		p.scanned, p.left = 0, 1
		if p.r == p.w {
			p.r, p.w = 0, 0
			if len(p.in) > keepBuffer {
				p.in = make([]byte, 16<<10)
			}
		}
	}
	for {
		if err := p.scan(); err != nil {
			return nil, err
		}
		if p.left == 0 {
			reply := p.in[p.r : p.r+p.scanned]
			p.r += p.scanned
			return reply, nil
		}
		if len(p.in)-p.w < minRead {
			if p.r > 0 {
				p.r, p.w = 0, copy(p.in, p.in[p.r:p.w])
			}
			if len(p.in)-p.w < len(p.in)/2 {
				p.in = append(p.in[:p.w:p.w], make([]byte, len(p.in)*2-p.w)...)
			}
		}
		n, err := p.net.Read(p.in[p.w:])
		p.w += n
		if err != nil && n == 0 {
			return nil, err
		}
	}
}

// scan goes on to the reply's end, as far as it was read.
func (p *pipe) scan() error {
	for p.left > 0 {
		h, ok, err := headAt(p.in[p.r:p.w], p.scanned)
		if err != nil || !ok {
			return err
		}
		end := h.end
		switch h.kind {
		case '$':
			if h.n > maxString {
				return errNotRESP
			}
			if h.n >= 0 {
				end += h.n + 2
			}
			if end > p.w-p.r {
				return nil
			}
		case '*':
			if h.n > maxValues-p.left {
				return errNotRESP
			}
			p.left += max(0, h.n)
		}
		p.scanned = end
		p.left--
	}
	return nil
}

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

var errNotRESP = errors.New("redislayer: the server does not speak RESP2")

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

// replyError is an error that the server replied.
type replyError string

func (e replyError) Error() string { return string(e) }

// RedisError makes it a [redis.Error].
func (e replyError) RedisError() {}

var _ redis.Error = replyError("")

// values walks over a reply that fetch has found to be whole.
type values struct {
	b     []byte
	at    int
	depth int  // of the list that value is in
	deep  bool // it is in too many
}

func (v *values) head() head {
	h, _, _ := headAt(v.b, v.at)
	v.at = h.end
	return h
}

// list returns how many values follow, or -1 if what comes is no list.
func (v *values) list() int {
	if h := v.head(); h.kind == '*' {
		return h.n
	}
	return -1
}

// bytes returns a string in place, or nil if what comes is none.
func (v *values) bytes() []byte {
	h := v.head()
	if h.kind != '$' || h.n < 0 {
		return nil
	}
	b := v.b[h.end : h.end+h.n : h.end+h.n]
	v.at = h.end + h.n + 2
	return b
}

// value returns a value as the client would: int64, string, nil, []any, or an
// error, which may also be in a list. If lists are too deep it sets deep.
func (v *values) value() any {
	switch at := v.at; v.b[at] {
	case ':':
		return int64(v.head().n)
	case '+':
		return string(v.head().line)
	case '-':
		return replyError(v.head().line)
	case '$':
		b := v.bytes()
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
		list = append(list, v.value())
	}
	v.depth--
	return list
}

// reply waits for a reply. The second error is the server's, the first that of
// the connection.
func (p *pipe) reply() (reply any, broken, refused error) {
	b, err := p.fetch()
	if err != nil {
		return nil, err, nil
	}
	v := values{b: b}
	reply = v.value()
	if v.deep {
		return nil, errNotRESP, nil
	}
	if refusal, ok := reply.(replyError); ok {
		return nil, nil, refusal
	}
	return reply, nil, nil
}

// appendRequest appends a command in the form in which it is sent. Words are
// strings, bytes and integers.
func appendRequest(b []byte, words ...any) []byte {
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
			panic(fmt.Sprintf("redislayer: a request with a %T", word)) // written here
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
