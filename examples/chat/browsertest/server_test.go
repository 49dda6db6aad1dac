package browsertest

import (
	"bufio"
	"bytes"
	"context"
	"net/url"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience is how long a test waits for something to come true.
const patience = 20 * time.Second

// server is the chat as a process.
type server struct {
	address string // host:port
	process *exec.Cmd
	log     *lockedBuffer
	exited  chan struct{} // closed once err is set
	err     error
}

// startServer starts the chat at address ("127.0.0.1:0" for a free port) and
// returns when it listens. It is killed when the test ends.
func startServer(t *testing.T, address string, flags ...string) *server {
	t.Helper()
	s := &server{log: &lockedBuffer{}, exited: make(chan struct{})}
	// The cleanup below ends it sooner, unless go test gives up on the test.
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	s.process = exec.CommandContext(ctx, binary, append([]string{"-addr", address}, flags...)...)
	s.process.Stderr = s.log
	stdout, err := s.process.StdoutPipe()
	if err == nil {
		err = s.process.Start()
	}
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	greeting, readErr := bufio.NewReader(stdout).ReadString('\n')
	go func() {
		s.err = s.process.Wait()
		close(s.exited)
	}()
	t.Cleanup(func() {
		s.kill()
		cancel()
		if t.Failed() {
			t.Logf("server log:\n%s", s.log)
		}
	})
	if readErr != nil {
		<-s.exited
		t.Fatalf("the server ended without its address: %v; log:\n%s", s.err, s.log)
	}
	u, err := url.Parse(strings.TrimSpace(strings.TrimPrefix(greeting, "Chat: ")))
	if err != nil || u.Host == "" {
		t.Fatalf("the server printed %q: want its address", greeting)
	}
	s.address = u.Host
	return s
}

func (s *server) room(title string) string {
	return "http://" + s.address + "/room/" + url.PathEscape(title)
}

// pause makes the server hang, with its connections open.
func (s *server) pause() { s.process.Process.Signal(syscall.SIGSTOP) }

// kill ends the server as a crash would.
func (s *server) kill() {
	s.process.Process.Kill()
	<-s.exited
}

// terminate asks the server to end, and fails the test unless it exits with 0.
func (s *server) terminate(t *testing.T) {
	t.Helper()
	s.process.Process.Signal(syscall.SIGTERM)
	select {
	case <-s.exited:
	case <-time.After(patience):
		t.Fatalf("the server has not exited %v after SIGTERM; log:\n%s", patience, s.log)
	}
	if s.err != nil {
		t.Fatalf("after SIGTERM the server ended with %v, want exit code 0; log:\n%s", s.err, s.log)
	}
}

type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
