// Package resp speaks RESP2 on a connection that go-redis has made, where its
// own way costs too much: requests leave as they are built, and replies are read
// in place.
package resp

import (
	"errors"
	"io"
	"net"
	"time"
)

// Pipe is a connection below the client that made it, for what is sent often:
// requests are written as bytes, and replies read in place. The client and the
// pipe take turns, each with whole replies, so neither holds bytes that are for
// the other. One goroutine at a time uses it.
type Pipe struct {
	net    net.Conn
	stream io.ReadWriter // reads and writes it

	asking bool // every request is preceded by ASKING, whose reply nobody sees
	asked  bool // that reply was read, and the request's own is next

	in      []byte
	r, w    int // in[r:w] was read and not used yet
	scanned int // so much of in[r:w] is known to belong to one reply
	left    int // and how many values of it are to come; 0 before a reply
}

// NewPipe returns a pipe on a connection.
func NewPipe(c net.Conn) *Pipe { return &Pipe{net: c, stream: direct(c), in: make([]byte, 16<<10)} }

var errNotAsked = errors.New("the server said something that it was not asked for")

// Bounds of a pipe's buffer.
const (
	minRead    = 4 << 10 // room for one read, at least
	keepBuffer = 4 << 20 // a larger one is let go when it is empty
)

// Write sends requests. The deadline is also that of reading their replies. It
// fails if something was read that nobody asked for: whose reply what comes next
// is could not be told.
func (p *Pipe) Write(requests []byte, timeout time.Duration) error {
	if p.r < p.w {
		return errNotAsked
	}
	if p.asking {
		requests = withAsking(requests)
	}
	p.net.SetDeadline(time.Now().Add(timeout))
	_, err := p.stream.Write(requests)
	return err
}

// Read reads what comes, for a reader who takes it from there.
func (p *Pipe) Read(b []byte) (int, error) {
	if p.r < p.w {
		n := copy(b, p.in[p.r:p.w])
		p.r += n
		return n, nil
	}
	return p.stream.Read(b)
}

// Extend sets another deadline for reading.
func (p *Pipe) Extend(timeout time.Duration) { p.net.SetReadDeadline(time.Now().Add(timeout)) }

// Interrupt ends a read that is under way with an error that [IsTimeout]. It can
// then be done again. Anyone may call it.
func (p *Pipe) Interrupt() { p.net.SetReadDeadline(time.Unix(1, 0)) }

// Cut ends the connection: whatever is under way fails. Anyone may call it.
func (p *Pipe) Cut() { p.net.Close() }

// Fetch waits for one whole reply. The bytes are good until the next fetch. An
// error of the connection leaves what was read in place: after an interruption
// Fetch goes on where it was.
func (p *Pipe) Fetch() ([]byte, error) { return p.fetch(0) }

// FetchSlowly is Fetch for a reply that may take long to come: the deadline is
// put off by every piece of it, to so long after it.
func (p *Pipe) FetchSlowly(silence time.Duration) ([]byte, error) { return p.fetch(silence) }

func (p *Pipe) fetch(silence time.Duration) ([]byte, error) {
	if p.asking && !p.asked {
		if _, err := p.fetchNext(silence); err != nil {
			return nil, err
		}
	}
	reply, err := p.fetchNext(silence)
	p.asked = err != nil
	return reply, err
}

func (p *Pipe) fetchNext(silence time.Duration) ([]byte, error) {
	if p.left == 0 {
		p.scanned, p.left = 0, 1
		if p.r == p.w {
			p.r, p.w = 0, 0
			if len(p.in) > keepBuffer {
				p.in = make([]byte, 16<<10)
			}
		}
	}
	for came := false; ; came = true {
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
		if came && silence > 0 {
			p.Extend(silence)
		}
		n, err := p.stream.Read(p.in[p.w:])
		p.w += n
		if err != nil && n == 0 {
			return nil, err
		}
	}
}

// IsTimeout reports whether a read ended by its deadline or an interruption.
func IsTimeout(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}

// Reply waits for a reply. The second error is the server's, the first that of
// the connection.
func (p *Pipe) Reply() (reply any, broken, refused error) {
	b, err := p.Fetch()
	if err != nil {
		return nil, err, nil
	}
	reply, err = Read(b)
	if _, is := err.(Error); is {
		return nil, nil, err
	}
	return reply, err, nil
}

// Ask has every request from now on preceded by ASKING. To those on keys that
// are not on their way between nodes of a Cluster it does nothing.
func (p *Pipe) Ask() { p.asking = true }

// Asking reports whether Ask was called.
func (p *Pipe) Asking() bool { return p.asking }

// withAsking puts ASKING before each of some requests.
func withAsking(requests []byte) []byte {
	both := make([]byte, 0, len(requests)+len(requests)/8+minRead)
	for v := (Values{b: requests}); v.at < len(requests); {
		from := v.at
		for range v.List() {
			v.Bytes()
		}
		both = append(AppendRequest(both, "ASKING"), requests[from:v.at]...)
	}
	return both
}

// scan goes on to the reply's end, as far as it was read.
func (p *Pipe) scan() error {
	for p.left > 0 {
		h, ok, err := headAt(p.in[p.r:p.w], p.scanned)
		if err != nil || !ok {
			return err
		}
		end := h.end
		switch h.kind {
		case '$':
			if h.n > maxString {
				return ErrNotRESP
			}
			if h.n >= 0 {
				end += h.n + 2
			}
			if end > p.w-p.r {
				return nil
			}
		case '*':
			if h.n > maxValues-p.left {
				return ErrNotRESP
			}
			p.left += max(0, h.n)
		}
		p.scanned = end
		p.left--
	}
	return nil
}
