//go:build unix

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// stopTime is how long a program may take to end before it is killed. Daphne
// gives its consumers up to 10 seconds.
const stopTime = 15 * time.Second

// keeper is a shell script that leads the programs' process group. It ends them
// and removes their directory also when this process is killed: its standard
// input ends then.
const keeper = `trap '' TERM; read -r _; kill -TERM 0; rm -rf -- "$1"`

// programs are the processes that this one has started, in a process group of
// their own, so that a terminal's Ctrl-C reaches only this one, which stops
// them in order. Its methods are for one goroutine.
type programs struct {
	dir      string // for their files
	keeper   *exec.Cmd
	lifeline io.Closer
	started  []*program
	ended    context.CancelCauseFunc

	mu      sync.Mutex
	failed  error // the first that ended unasked
	stopped bool
}

type program struct {
	process *os.Process
	exited  chan struct{}
}

// newPrograms returns none so far, and a ctx that ends also when one of them
// ends by itself.
func newPrograms(ctx context.Context) (context.Context, *programs, error) {
	dir, err := os.MkdirTemp("", "channellayer-django-")
	if err != nil {
		return nil, nil, err
	}
	p := &programs{dir: dir, keeper: exec.Command("sh", "-c", keeper, "keeper", dir)}
	p.keeper.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if p.lifeline, err = p.keeper.StdinPipe(); err == nil {
		err = p.keeper.Start()
	}
	if err != nil {
		return nil, nil, errors.Join(err, os.RemoveAll(dir))
	}
	ctx, p.ended = context.WithCancelCause(ctx)
	return ctx, p, nil
}

// start starts a program. Its standard output is passed on only if it ends by
// itself.
func (p *programs) start(cmd *exec.Cmd) error {
	said := new(bytes.Buffer)
	cmd.Stdout, cmd.Stderr = said, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pgid: p.keeper.Process.Pid}
	if err := cmd.Start(); err != nil {
		return err
	}
	started := &program{cmd.Process, make(chan struct{})}
	p.started = append(p.started, started)
	go func() {
		defer close(started.exited)
		err := cmd.Wait()
		p.mu.Lock()
		defer p.mu.Unlock()
		if !p.stopped && p.failed == nil {
			p.failed = fmt.Errorf("%s ended by itself: %v\n%s", strings.Join(cmd.Args, " "), err, said)
			p.ended(p.failed)
		}
	}()
	return nil
}

// failure returns what it was if one of the programs has ended by itself.
func (p *programs) failure() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.failed
}

// stop ends the programs, the last first, and returns when they are gone.
func (p *programs) stop() error {
	p.mu.Lock()
	p.stopped = true
	p.mu.Unlock()
	for i := len(p.started) - 1; i >= 0; i-- {
		program := p.started[i]
		program.process.Signal(syscall.SIGTERM)
		kill := time.AfterFunc(stopTime, func() { program.process.Kill() })
		<-program.exited
		kill.Stop()
	}
	p.lifeline.Close()
	p.keeper.Wait()
	p.ended(nil)
	return os.RemoveAll(p.dir)
}
