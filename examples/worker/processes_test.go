package main

import (
	"bufio"
	"bytes"
	"context"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/channellayer/channellayer/internal/redistest"
)

// process is the program, as people run it.
type process struct {
	*exec.Cmd
	greeting string
	log      *bytes.Buffer // read it after exited
	exited   chan struct{}
	err      error
}

// runProgram starts the program and returns when it has said its first line. It is
// killed when the test ends.
func runProgram(t *testing.T, binary string, args ...string) *process {
	t.Helper()
	// The cleanup ends it sooner, unless go test gives up on the test.
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	p := &process{Cmd: exec.CommandContext(ctx, binary, args...), log: new(bytes.Buffer), exited: make(chan struct{})}
	p.Stderr = p.log
	stdout, err := p.StdoutPipe()
	if err == nil {
		err = p.Start()
	}
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	line, readErr := bufio.NewReader(stdout).ReadString('\n')
	p.greeting = strings.TrimSpace(line)
	go func() {
		p.err = p.Wait()
		close(p.exited)
	}()
	t.Cleanup(func() {
		p.Process.Kill()
		<-p.exited
		cancel()
		if t.Failed() {
			t.Logf("%v said:\n%s", args, p.log)
		}
	})
	if readErr != nil {
		t.Fatalf("%v ended without a word: %v", args, readErr)
	}
	return p
}

// terminate asks the program to end, and fails the test unless it exits with 0.
func (p *process) terminate(t *testing.T) {
	t.Helper()
	p.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.exited:
	case <-time.After(patience):
		t.Fatalf("%v has not exited %v after SIGTERM", p.Args, patience)
	}
	if p.err != nil {
		t.Errorf("after SIGTERM %v ended with %v, want exit code 0", p.Args, p.err)
	}
}

// A web and two workers, of which one is stopped in the middle: each job is
// done once.
func TestProcesses(t *testing.T) {
	redis := redistest.Start(t, redistest.Config{})
	binary := filepath.Join(t.TempDir(), "worker")
	if out, err := exec.Command("go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	server := runProgram(t, binary, "-redis", redis.URL(), "-addr", "127.0.0.1:0", "web")
	first := runProgram(t, binary, "-redis", redis.URL(), "-handlers", "3", "work")
	second := runProgram(t, binary, "-redis", redis.URL(), "-handlers", "3", "work")
	address, ok := strings.CutPrefix(strings.TrimSuffix(server.greeting, "/"), "Jobs: http://")
	if !ok {
		t.Fatalf("the web said %q, want its address", server.greeting)
	}
	s := visit(t, address)
	all := s.watch()

	const total = 200
	var queued []string
	for len(queued) < total {
		queued = append(queued, s.queue(100_000)) // they come faster than they are done
		if len(queued) == total/2 {
			first.terminate(t)
		}
	}
	workers, done := map[string]int{}, map[string]int{}
	defer func() { t.Logf("%d different jobs of %d were done, by %v", len(done), total, workers) }()
	for range total {
		m := s.next(all, "job.done")
		done[m.ID]++
		workers[m.Worker]++
	}
	for _, id := range queued {
		if done[id] != 1 {
			t.Errorf("job %s was done %d times, want once", id, done[id])
		}
	}
	if len(done) != total || len(workers) != 2 {
		t.Errorf("%d different jobs were done, want %d; by %v, want two workers", len(done), total, workers)
	}
	second.terminate(t)
	server.terminate(t)
	for m := range all {
		t.Errorf("at last a worker told %+v, want nothing more", m)
	}
}
