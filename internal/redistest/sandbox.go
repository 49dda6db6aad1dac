package redistest

import (
	"crypto/tls"
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// janitor ends the sandbox's processes and removes its directory as soon as its
// standard input ends: when the sandbox closes the pipe's other end, or when
// the kernel does because the test process is dead. Every server is in the
// janitor's process group from before its exec, so there is no moment at which
// one could escape, and no process id that could meanwhile belong to another.
// (Pdeathsig would fire when the *thread* that started a server ends, is Linux
// only, and leaves the files.)
//
//go:embed janitor.sh
var janitor string

// sandbox is a directory and a group of processes that vanish together, with
// close or with the test process.
type sandbox struct {
	dir      string
	pickPort func() (int, error)
	janitor  *exec.Cmd
	lifeline *os.File                    // nothing is written to it; its end is the message
	trust    func() (*tls.Config, error) // what a client by TLS needs; the same each time

	mu        sync.Mutex
	processes []*process
	servers   []*Server
}

// newSandbox returns a sandbox that is closed when the test ends, after the end
// of each server's log was printed if the test failed.
func newSandbox(tb testing.TB) *sandbox {
	tb.Helper()
	s, err := openSandbox()
	if err != nil {
		tb.Fatalf("redistest: %v", err)
	}
	tb.Cleanup(func() {
		if tb.Failed() {
			s.logTails(tb)
		}
		if err := s.close(); err != nil {
			tb.Errorf("redistest: %v", err)
		}
	})
	return s
}

func openSandbox() (*sandbox, error) {
	dir, err := os.MkdirTemp("", "redistest-")
	if err != nil {
		return nil, err
	}
	read, write, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer read.Close()
	cmd := exec.Command("sh", "-c", janitor, "redistest-janitor", dir)
	cmd.Stdin = read
	cmd.SysProcAttr = inGroup(0) // out of reach of the terminal's Ctrl-C
	if err := cmd.Start(); err != nil {
		write.Close()
		os.RemoveAll(dir)
		return nil, fmt.Errorf("starting the janitor: %w", err)
	}
	s := &sandbox{dir: dir, pickPort: freePort, janitor: cmd, lifeline: write}
	s.trust = sync.OnceValues(s.makeTrusted)
	return s, nil
}

// close kills and awaits every process of the sandbox and removes its directory.
func (s *sandbox) close() error {
	s.lifeline.Close()
	s.janitor.Wait() // its last act is to kill its group, and so itself
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.processes {
		p.signal(os.Kill) // for the case that someone killed the janitor
		<-p.exited
	}
	if err := os.RemoveAll(s.dir); err != nil {
		return err
	}
	return nil
}

// logTails prints the end of every server's log.
func (s *sandbox) logTails(tb testing.TB) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, server := range s.servers {
		tb.Logf("%s (%s, pid %d), end of its log:\n%s", server.name, server.Addr(), server.PID(), server.logTail())
	}
}

// process is a started program.
type process struct {
	cmd    *exec.Cmd
	exited chan struct{} // closed once it has ended and was reaped
}

// start runs a program in the sandbox's group; what it prints is appended to
// the file log.
func (s *sandbox) start(log, program string, args ...string) (*process, error) {
	output, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer output.Close()
	// No pipe, and nothing of the test's own output: `go test` waits for whoever
	// holds that.
	cmd := exec.Command(program, args...)
	cmd.Dir = filepath.Dir(log)
	cmd.Stdout, cmd.Stderr = output, output
	cmd.SysProcAttr = inGroup(s.janitor.Process.Pid)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &process{cmd: cmd, exited: make(chan struct{})}
	go func() {
		cmd.Wait()
		close(p.exited)
	}()
	s.processes = append(s.processes, p)
	return p, nil
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// signal sends a signal; to a process that has ended it does nothing.
func (p *process) signal(signal os.Signal) error {
	if err := p.cmd.Process.Signal(signal); err != nil && err != os.ErrProcessDone {
		return err
	}
	return nil
}

// suspended reports whether the kernel shows the process as stopped, and true
// where it can't be seen.
func (p *process) suspended() bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.pid()))
	if err != nil {
		return true
	}
	_, state, _ := strings.Cut(string(stat), ") ")
	return strings.HasPrefix(state, "T")
}
