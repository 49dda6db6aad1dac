package redistest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/channellayer/channellayer/internal/testneed"
)

// readyTimeout bounds the wait for a server that starts or ends. It is reached
// only when something is wrong: a start takes some 10 milliseconds.
const readyTimeout = 30 * time.Second

// Server is a Redis server, or sentinel, that is running, paused, or down. Its
// address never changes.
type Server struct {
	tb      testing.TB
	box     *sandbox
	name    string
	config  Config
	port    int
	command []string

	encryption encryption // if Config.TLS

	mu      sync.Mutex // held while the server changes state
	process *process   // nil while it is down
}

// Start starts a Redis server and returns when it answers. It is killed when
// the test ends.
func Start(tb testing.TB, config Config) *Server {
	tb.Helper()
	testneed.Programs(tb, config.program(), "sh")
	s, err := newSandbox(tb).launch(tb, "redis", config)
	if err != nil {
		tb.Fatalf("redistest: %v", err)
	}
	return s
}

// launch starts a server with this name, on another port if its port was taken
// in the meantime. Arguments follow the configuration file's name.
func (box *sandbox) launch(tb testing.TB, name string, config Config, args ...string) (*Server, error) {
	for attempt := 1; ; attempt++ {
		port, err := box.pickPort()
		if err != nil {
			return nil, err
		}
		s := &Server{tb: tb, box: box, name: name, config: config, port: port}
		s.command = append([]string{config.program(), s.path("redis.conf")}, args...)
		if err := errors.Join(os.RemoveAll(s.path("")), os.MkdirAll(s.dataDir(), 0o700)); err != nil {
			return nil, err
		}
		lines := config.lines(port, s.dataDir())
		if config.TLS {
			encrypted, err := s.encrypt()
			if err != nil {
				return nil, err
			}
			lines = append(encrypted, lines...)
		}
		conf := strings.Join(lines, "\n") + "\n"
		if err := os.WriteFile(s.path("redis.conf"), []byte(conf), 0o600); err != nil {
			return nil, err
		}
		err = s.startLocked()
		if errors.Is(err, errPortTaken) && attempt < 10 {
			continue
		}
		if err != nil {
			return nil, err
		}
		box.mu.Lock()
		box.servers = append(box.servers, s)
		box.mu.Unlock()
		return s, nil
	}
}

// Addr returns the server's host:port.
func (s *Server) Addr() string { return loopback(s.port) }

// URL returns the server's address as a redis:// URL, with the password.
func (s *Server) URL() string {
	u := url.URL{Scheme: "redis", Host: s.Addr(), Path: "/0"}
	if s.config.Password != "" {
		u.User = url.UserPassword("", s.config.Password)
	}
	return u.String()
}

// PID returns the id of the server's process, 0 while it is down.
func (s *Server) PID() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process == nil {
		return 0
	}
	return s.process.pid()
}

// Client returns a new client that repeats nothing. It is closed when tb ends.
func (s *Server) Client(tb testing.TB) *redis.Client {
	tb.Helper()
	client := redis.NewClient(&redis.Options{Addr: s.Addr(), Password: s.config.Password, MaxRetries: -1})
	tb.Cleanup(func() { client.Close() })
	return client
}

// Info returns the fields of a section of INFO, such as "memory".
func (s *Server) Info(tb testing.TB, section string) map[string]string {
	tb.Helper()
	info, err := s.info(tb.Context(), section)
	if err != nil {
		tb.Fatalf("redistest: %s: INFO %s: %v", s.name, section, err)
	}
	return info
}

func (s *Server) info(ctx context.Context, section string) (map[string]string, error) {
	text, err := s.do(ctx, "INFO", section).Text()
	return fields(text), err
}

// fields reads lines of the form name:value.
func fields(text string) map[string]string {
	fields := make(map[string]string)
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			fields[name] = value
		}
	}
	return fields
}

// do runs one command with probe.
func (s *Server) do(ctx context.Context, args ...any) *redis.Cmd {
	client := s.probe()
	defer client.Close()
	return client.Do(ctx, args...)
}

// probe returns a client for a question or two, which remembers nothing of how
// the server was before and gives up at once where nobody listens.
func (s *Server) probe() *redis.Client {
	return redis.NewClient(&redis.Options{
		Addr:          s.Addr(),
		Password:      s.config.Password,
		MaxRetries:    -1,
		DialerRetries: 1,
		ReadTimeout:   readyTimeout, // a node of a cluster writes its state to a disk that may be busy
	})
}

// Kill ends the server with SIGKILL and returns when it is gone. It does
// nothing to one that is down.
func (s *Server) Kill() { s.end(os.Kill) }

// Stop ends the server with SIGTERM, as an operator would, and returns when it
// is gone. A paused one is resumed first. It does nothing to one that is down.
func (s *Server) Stop() { s.end(syscall.SIGTERM, signalContinue) }

func (s *Server) end(signals ...os.Signal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process == nil {
		return
	}
	for _, signal := range signals {
		if err := s.process.signal(signal); err != nil {
			s.tb.Errorf("redistest: %s: sending %v: %v", s.name, signal, err)
		}
	}
	select {
	case <-s.process.exited:
		s.process = nil
	case <-time.After(readyTimeout):
		s.tb.Errorf("redistest: %s: still running %v after %v", s.name, readyTimeout, signals)
	}
}

// Pause stops the server with SIGSTOP: it accepts connections and bytes, and
// answers nothing. Pause returns when that is so. It does nothing to one that
// is down.
func (s *Server) Pause() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process == nil {
		return
	}
	err := s.process.signal(signalStop)
	if err == nil {
		err = await(context.Background(), func(context.Context) error {
			if !s.process.suspended() {
				return errors.New("it is still running")
			}
			return nil
		})
	}
	if err != nil {
		s.tb.Errorf("redistest: %s: pausing: %v", s.name, err)
	}
}

// Resume lets a paused server go on; it does nothing to another one.
func (s *Server) Resume() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process == nil {
		return
	}
	if err := s.process.signal(signalContinue); err != nil {
		s.tb.Errorf("redistest: %s: resuming: %v", s.name, err)
	}
}

// Restart kills the server if it runs, and starts it on the same port with what
// its persistence kept. It returns when the server answers.
func (s *Server) Restart(tb testing.TB) {
	tb.Helper()
	s.restart(tb, false)
}

// RestartEmpty is Restart without any data. A cluster's node keeps its identity
// and slots.
func (s *Server) RestartEmpty(tb testing.TB) {
	tb.Helper()
	s.restart(tb, true)
}

func (s *Server) restart(tb testing.TB, wipe bool) {
	tb.Helper()
	s.Kill()
	s.mu.Lock()
	defer s.mu.Unlock()
	if wipe {
		err := os.RemoveAll(s.dataDir())
		if err == nil {
			err = os.Mkdir(s.dataDir(), 0o700)
		}
		if err != nil {
			tb.Fatalf("redistest: %s: removing its data: %v", s.name, err)
		}
	}
	if err := s.startLocked(); err != nil {
		tb.Fatalf("redistest: restarting: %v", err)
	}
}

var errPortTaken = errors.New("its port is taken")

// startLocked starts the process and waits until it answers.
func (s *Server) startLocked() error {
	process, err := s.box.start(s.path("log"), s.command[0], s.command[1:]...)
	if err != nil {
		return fmt.Errorf("%s: %w", s.name, err)
	}
	err = await(context.Background(), func(ctx context.Context) error {
		select {
		case <-process.exited:
			cause := errors.New("it exited")
			if strings.Contains(s.logTail(), "Address already in use") {
				cause = errPortTaken
			}
			return final{cause}
		default:
			return s.answers(ctx, process)
		}
	})
	if err != nil {
		process.signal(os.Kill)
		<-process.exited
		return fmt.Errorf("%s on port %d did not start: %w; end of its log:\n%s", s.name, s.port, err, s.logTail())
	}
	s.process = process
	return nil
}

// answers reports whether this very process accepts commands: another program
// may have taken the port.
func (s *Server) answers(ctx context.Context, process *process) error {
	conn, err := net.DialTimeout("tcp", s.Addr(), time.Second)
	if err != nil {
		return err // go-redis would print it, too
	}
	conn.Close()
	client := s.probe()
	defer client.Close()
	err = client.Ping(ctx).Err()
	if err != nil && len(s.config.Users) > 0 && (redis.IsAuthError(err) || redis.IsPermissionError(err)) {
		return nil // the rules forbid us to see more
	}
	if err != nil {
		return err
	}
	text, err := client.Info(ctx, "server").Result()
	if err != nil {
		return err
	}
	if pid := fields(text)["process_id"]; pid != strconv.Itoa(process.pid()) {
		return fmt.Errorf("process %s answers on port %d instead of process %d", pid, s.port, process.pid())
	}
	return nil
}

// path returns the path of a file in the server's own directory. What Redis
// itself stores is in dataDir.
func (s *Server) path(file string) string { return filepath.Join(s.box.dir, s.name, file) }

func (s *Server) dataDir() string { return s.path("data") }

// logTail returns the last lines of the server's log.
func (s *Server) logTail() string {
	const most = 25
	log, err := os.ReadFile(s.path("log"))
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimRight(string(log), "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-most):], "\n")
}
