package faultproxy

import (
	"bytes"
	"net"
	"slices"
	"time"
)

// Match picks a request; see the package's doc for what that is. It must not
// keep or change it, and must not call the proxy.
type Match func(request []byte) bool

// Any matches every request.
func Any([]byte) bool { return true }

// Containing matches requests that contain text.
func Containing(text string) Match {
	return func(request []byte) bool { return bytes.Contains(request, []byte(text)) }
}

// trap waits for requests to strike.
type trap struct {
	match     Match
	reply     bool          // lose the reply, otherwise the request
	armed     int           // how many more requests may walk in
	remaining int           // strikes to come
	struck    chan struct{} // closed with the last strike
}

// DropReplies strikes the next n requests that match: each is forwarded; the
// server's reply is swallowed, and the connection closed at its first byte. The
// server has done what it was asked, and the client can't know. (In a pipeline
// the first reply may come before the last command arrived; up to a packet's
// length, some 32 kB, all of it is executed.) A blocking command is struck when
// it is answered; a connection that ends before that does not count. The channel
// is closed after the nth.
func (p *Proxy) DropReplies(n int, match Match) (struck <-chan struct{}) {
	return p.arm(&trap{match: match, reply: true}, n)
}

// DropRequests strikes the next n requests that match: the connection is closed
// instead of forwarding the request (the packet with which it matched). The
// channel is closed after the nth.
func (p *Proxy) DropRequests(n int, match Match) (struck <-chan struct{}) {
	return p.arm(&trap{match: match}, n)
}

func (p *Proxy) arm(t *trap, n int) <-chan struct{} {
	t.armed, t.remaining, t.struck = n, n, make(chan struct{})
	p.mu.Lock()
	defer p.mu.Unlock()
	p.traps = append(p.traps, t)
	return t.struck
}

// springLocked returns the first trap that the request walked into.
func (p *Proxy) springLocked(request []byte) *trap {
	for _, t := range p.traps {
		if t.armed > 0 && t.match(request) {
			t.armed--
			return t
		}
	}
	return nil
}

// strikeLocked counts a fault that was done, and removes the trap after the last.
func (p *Proxy) strikeLocked(t *trap) {
	if t.remaining--; t.remaining == 0 {
		close(t.struck)
		p.traps = slices.DeleteFunc(p.traps, func(other *trap) bool { return other == t })
	}
}

// BlackHole forwards nothing any more in this direction, on present and new
// connections, which stay open and are accepted. Like a network, it keeps what
// was sent: with Heal it arrives, late, also if its sender has closed meanwhile.
func (p *Proxy) BlackHole(direction Direction) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hole |= direction
}

// Deafen is BlackHole(ToClient) for those present connections that match, and
// returns how many that are. A connection matches by its latest request, or by
// the first 4 KiB that its client sent, in which its name may be. Deaf
// connections stay open and their requests are forwarded.
func (p *Proxy) Deafen(match Match) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for c := range p.conns {
		if c.matchesLocked(match) {
			c.deaf = true
			n++
		}
	}
	return n
}

// Delay lets bytes arrive this much later than they came, plus a random time up
// to jitter, and in order. Without both it ends.
func (p *Proxy) Delay(direction Direction, least, jitter time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, d := range []Direction{ToServer, ToClient} {
		if direction&d != 0 {
			p.delay[d] = latency{least, jitter}
		}
	}
}

// Cut closes those present connections that match, as Deafen says, and returns
// how many that were. With reset both ends get a TCP RST, as from a host that
// restarted, otherwise an orderly end.
func (p *Proxy) Cut(match Match, reset bool) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for c := range p.conns {
		if c.matchesLocked(match) {
			c.closeLocked(reset)
			n++
		}
	}
	return n
}

// Refuse refuses new connections until Heal; the present ones go on.
func (p *Proxy) Refuse() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refuseLocked()
}

// Heal ends every fault that lasts: black holes, deafness, delays, refusal; and
// disarms what has not struck yet.
func (p *Proxy) Heal() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return
	}
	p.hole = 0
	p.traps = nil
	clear(p.delay)
	for c := range p.conns {
		c.deaf = false
		c.trapped = nil
	}
	close(p.healed)
	p.healed = make(chan struct{})
	if p.listener == nil {
		listener, err := net.Listen("tcp", p.addr)
		if err != nil {
			p.tb.Errorf("faultproxy: accepting connections again: %v", err)
			return
		}
		p.serveLocked(listener)
	}
}
