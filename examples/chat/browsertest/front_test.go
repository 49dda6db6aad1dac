package browsertest

import (
	"io"
	"net"
	"sync"
	"testing"
)

// front is one address for servers that come and go, as a load balancer is: it
// passes each new connection to the server of the day.
type front struct {
	listener net.Listener
	work     sync.WaitGroup

	mu      sync.Mutex
	backend string
	conns   []net.Conn
}

func startFront(t *testing.T, s *server) *front {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &front{listener: listener, backend: s.address}
	f.work.Go(f.serve)
	t.Cleanup(f.close)
	return f
}

func (f *front) address() string { return f.listener.Addr().String() }

// use passes connections to another server from now on.
func (f *front) use(s *server) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.backend = s.address
}

func (f *front) serve() {
	for {
		client, err := f.listener.Accept()
		if err != nil {
			return
		}
		f.mu.Lock()
		server, err := net.Dial("tcp", f.backend)
		if err != nil {
			f.mu.Unlock()
			client.Close()
			continue
		}
		f.conns = append(f.conns, client, server)
		f.mu.Unlock()
		f.work.Go(func() { pass(server, client) })
		f.work.Go(func() { pass(client, server) })
	}
}

func pass(to, from net.Conn) {
	io.Copy(to, from)
	to.Close()
	from.Close()
}

func (f *front) close() {
	f.listener.Close()
	f.mu.Lock()
	for _, conn := range f.conns {
		conn.Close()
	}
	f.mu.Unlock()
	f.work.Wait()
}
