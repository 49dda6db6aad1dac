package redisconn

import (
	"errors"
	"net"
	"time"
)

// Pipe is a connection below the client library that made it, for what is sent
// often: commands are written as bytes, and replies read in place. It and the
// library take turns, each with whole replies, so neither holds bytes that are
// for the other. One goroutine at a time uses it.
type Pipe struct {
	net net.Conn

	in      []byte
	r, w    int // in[r:w] was read and not used yet
	scanned int // so much of in[r:w] is known to belong to one reply
	left    int // and how many values of it are to come; 0 before a reply
}

func newPipe(c net.Conn) *Pipe { return &Pipe{net: c, in: make([]byte, 16<<10)} }

var errNotAsked = errors.New("redisconn: the server said something that it was not asked for")

// Bounds of a pipe's buffer.
const (
	minRead    = 4 << 10 // room for one read, at least
	keepBuffer = 4 << 20 // a larger one is let go when it is empty
)

// Write sends commands. The deadline is also that of reading their replies. It
// fails if something was read that nobody asked for: whose reply what comes next
// is could not be told.
func (p *Pipe) Write(commands []byte, timeout time.Duration) error {
	if p.r < p.w {
		return errNotAsked
	}
	p.net.SetDeadline(time.Now().Add(timeout))
	_, err := p.net.Write(commands)
	return err
}

// Extend sets another deadline for reading.
func (p *Pipe) Extend(timeout time.Duration) { p.net.SetReadDeadline(time.Now().Add(timeout)) }

// Interrupt ends a read that is under way with an error that [IsTimeout]. It can
// then be done again. Anyone may call it.
func (p *Pipe) Interrupt() { p.net.SetReadDeadline(time.Unix(1, 0)) }

// IsTimeout reports whether a read ended by its deadline or an interruption.
func IsTimeout(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}

// Fetch waits for one whole reply, for [Read]. The bytes are good until the next
// fetch. An error of the connection leaves what was read in place: after an
// interruption Fetch goes on where it was.
func (p *Pipe) Fetch() ([]byte, error) { return p.fetch(0) }

// FetchSlowly is Fetch for a reply that may take long to come: the deadline is
// put off by every piece of it, to so long after it.
func (p *Pipe) FetchSlowly(silence time.Duration) ([]byte, error) { return p.fetch(silence) }

func (p *Pipe) fetch(silence time.Duration) ([]byte, error) {
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
		n, err := p.net.Read(p.in[p.w:])
		p.w += n
		if err != nil && n == 0 {
			return nil, err
		}
	}
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
