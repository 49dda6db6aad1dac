package faultproxy

import (
	"context"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
	"testing"
	"time"
)

// Direction says which way bytes flow.
type Direction int

// The directions that a fault can be in.
const (
	ToServer Direction = 1 << iota
	ToClient
	Both = ToServer | ToClient
)

// Proxy forwards connections to a server, and does harm on demand.
type Proxy struct {
	tb      testing.TB
	target  string
	addr    string
	ctx     context.Context // done with Close
	cancel  context.CancelFunc
	running sync.WaitGroup

	mu       sync.Mutex
	closed   bool
	listener net.Listener // nil while new connections are refused
	conns    map[*connection]struct{}
	traps    []*trap
	hole     Direction     // where BlackHole lets nothing through
	healed   chan struct{} // closed, and replaced, by Heal
	delay    map[Direction]latency
	stats    Stats
}

type latency struct{ least, jitter time.Duration }

// Stats counts from the proxy's start.
type Stats struct {
	Accepted int // connections
	Open     int // connections now
	ToServer int // bytes forwarded
	ToClient int // bytes forwarded
}

// New starts a proxy for the server at target, a host:port that needs not answer
// yet. The proxy is closed when the test ends.
func New(tb testing.TB, target string) *Proxy {
	tb.Helper()
	p := &Proxy{
		tb:     tb,
		target: target,
		conns:  make(map[*connection]struct{}),
		healed: make(chan struct{}),
		delay:  make(map[Direction]latency),
	}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	listener, err := listen()
	if err != nil {
		tb.Fatalf("faultproxy: %v", err)
	}
	p.addr = listener.Addr().String()
	p.mu.Lock()
	p.serveLocked(listener)
	p.mu.Unlock()
	tb.Cleanup(p.Close)
	return p
}

// listen takes a port below those that outgoing connections get: Refuse gives it
// up for a while, and then nobody's connection may take it, least of all that of
// a client that dials it in vain, and would be connected to itself.
func listen() (listener net.Listener, err error) {
	for range 100 {
		port := 23000 + rand.IntN(32768-23000)
		listener, err = net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err == nil {
			return listener, nil
		}
	}
	return nil, err
}

// Addr returns the host:port to connect to instead of the server's.
func (p *Proxy) Addr() string { return p.addr }

// Stats returns the counters.
func (p *Proxy) Stats() Stats {
	p.mu.Lock()
	defer p.mu.Unlock()
	stats := p.stats
	stats.Open = len(p.conns)
	return stats
}

func (p *Proxy) serveLocked(listener net.Listener) {
	p.listener = listener
	p.running.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return // closed by Refuse or Close
			}
			p.mu.Lock()
			if p.listener != listener {
				abort(client)
			} else {
				p.stats.Accepted++
				c := &connection{proxy: p, client: client.(*net.TCPConn), gone: make(chan struct{})}
				p.conns[c] = struct{}{}
				p.running.Go(c.run)
			}
			p.mu.Unlock()
		}
	})
}

// Close closes everything and returns when all the proxy's goroutines have
// ended. It may be called again.
func (p *Proxy) Close() {
	p.mu.Lock()
	if !p.closed {
		p.closed = true
		p.cancel()
		p.refuseLocked()
		for c := range p.conns {
			c.closeLocked(false)
		}
	}
	p.mu.Unlock()
	p.running.Wait()
}

func (p *Proxy) refuseLocked() {
	if p.listener != nil {
		p.listener.Close()
		p.listener = nil
	}
}
