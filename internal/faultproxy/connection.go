package faultproxy

import (
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"time"
)

const (
	headSize    = 4 << 10 // of what a client sent, kept to pick its connection by
	requestSize = 1 << 20 // of a request, shown to a Match
	packetSize  = 32 << 10
)

// connection is a client's connection with its counterpart to the server. The
// fields below gone are guarded by the proxy's mutex.
type connection struct {
	proxy  *Proxy
	client *net.TCPConn
	gone   chan struct{} // closed with the connection

	server  *net.TCPConn // nil until dialled
	closed  bool
	head    []byte // the first bytes that the client sent
	request []byte // what it sent since the server's last bytes
	replied bool   // the next bytes from the client begin a new request
	deaf    bool
	trapped *trap // whose reply is to be dropped
}

// packet is what was read at once, and when it may be written.
type packet struct {
	data []byte
	due  time.Time
}

// run owns the connection until both directions have ended.
func (c *connection) run() {
	p := c.proxy
	var dialer net.Dialer
	server, err := dialer.DialContext(p.ctx, "tcp", p.target)
	p.mu.Lock()
	if err != nil {
		c.closeLocked(true) // the nearest to a refusal once accepted
	} else if c.closed {
		abort(server)
	} else {
		c.server = server.(*net.TCPConn)
	}
	open := !c.closed
	p.mu.Unlock()
	if open {
		var both sync.WaitGroup
		both.Go(func() { c.pump(ToServer, c.client, c.server) })
		both.Go(func() { c.pump(ToClient, c.server, c.client) })
		both.Wait()
	}
	p.mu.Lock()
	c.closeLocked(false)
	if c.trapped != nil {
		c.trapped.armed++ // for the next one
	}
	delete(p.conns, c)
	p.mu.Unlock()
}

// pump forwards one direction. Reading goes on while packets wait for their
// time, so that a delay costs latency, not throughput.
func (c *connection) pump(direction Direction, from, to *net.TCPConn) {
	packets := make(chan packet, 64)
	var writer sync.WaitGroup
	writer.Go(func() { c.write(direction, packets, to) })
	var due time.Time
	buffer := make([]byte, packetSize)
	for {
		n, err := from.Read(buffer)
		if n > 0 && c.seen(direction, buffer[:n]) {
			if next := time.Now().Add(c.proxy.latency(direction)); next.After(due) {
				due = next
			}
			packets <- packet{append([]byte(nil), buffer[:n]...), due}
		}
		if err != nil {
			// An orderly end is forwarded behind what was sent before it. So is
			// the end that a dropped reply put to the client: the server must
			// still get the whole request.
			if err != io.EOF && !errors.Is(err, net.ErrClosed) {
				c.close(true)
			}
			break
		}
	}
	close(packets)
	writer.Wait()
	to.CloseWrite()
}

// write writes packets when they are due and no black hole swallows them. After
// the connection has ended it throws them away.
func (c *connection) write(direction Direction, packets <-chan packet, to *net.TCPConn) {
	broken := false
	for packet := range packets {
		if broken || !c.wait(direction, packet.due) {
			continue
		}
		n, err := to.Write(packet.data)
		c.proxy.count(direction, n)
		if err != nil {
			broken = true
			if direction == ToServer {
				c.close(true)
			}
		}
	}
}

// wait waits until something may be written, and reports whether it still may.
func (c *connection) wait(direction Direction, due time.Time) bool {
	p := c.proxy
	if left := time.Until(due); left > 0 {
		timer := time.NewTimer(left)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-c.gone:
			return false
		}
	}
	for {
		p.mu.Lock()
		blocked := p.hole&direction != 0 || c.deaf && direction == ToClient
		healed := p.healed
		p.mu.Unlock()
		if !blocked {
			return true
		}
		select {
		case <-healed:
		case <-c.gone:
			return false
		}
	}
}

// seen looks at what was read, springs traps, and reports whether it is to be
// forwarded.
func (c *connection) seen(direction Direction, data []byte) bool {
	p := c.proxy
	p.mu.Lock()
	defer p.mu.Unlock()
	if direction == ToClient {
		c.replied = true
		if c.trapped != nil {
			p.strikeLocked(c.trapped)
			c.trapped = nil
			c.client.Close() // and what else the server sends is lost
			return false
		}
		return true
	}
	if c.replied {
		c.request, c.replied = c.request[:0], false
	}
	c.head = append(c.head, data[:min(len(data), headSize-len(c.head))]...)
	c.request = append(c.request, data[:min(len(data), requestSize-len(c.request))]...)
	if c.trapped != nil {
		return true
	}
	trap := p.springLocked(c.request)
	switch {
	case trap == nil:
		return true
	case trap.reply:
		c.trapped = trap
		return true
	default:
		p.strikeLocked(trap)
		c.closeLocked(false)
		return false
	}
}

func (c *connection) matchesLocked(match Match) bool {
	return !c.closed && (match(c.head) || match(c.request))
}

func (c *connection) close(reset bool) {
	c.proxy.mu.Lock()
	defer c.proxy.mu.Unlock()
	c.closeLocked(reset)
}

// closeLocked ends both directions.
func (c *connection) closeLocked(reset bool) {
	if c.closed {
		return
	}
	c.closed = true
	close(c.gone)
	for _, conn := range []*net.TCPConn{c.client, c.server} {
		switch {
		case conn == nil:
		case reset:
			abort(conn)
		default:
			conn.Close()
		}
	}
}

// abort closes a connection with a TCP RST.
func abort(conn net.Conn) {
	conn.(*net.TCPConn).SetLinger(0)
	conn.Close()
}

// latency draws how long what was read now is to be kept.
func (p *Proxy) latency(direction Direction) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	delay := p.delay[direction]
	if delay.jitter > 0 {
		return delay.least + rand.N(delay.jitter)
	}
	return delay.least
}

func (p *Proxy) count(direction Direction, n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if direction == ToServer {
		p.stats.ToServer += n
	} else {
		p.stats.ToClient += n
	}
}
