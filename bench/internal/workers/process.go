//go:build unix

package workers

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/channellayer/channellayer/internal/redistest"
)

// Process is a worker, seen from outside.
type Process struct {
	name string
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  *bufio.Reader
}

// Start starts a worker in Go: this program again.
func Start(b *testing.B) *Process {
	b.Helper()
	program, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command(program)
	cmd.Env = append(os.Environ(), workerEnvironment+"=1")
	return StartProgram(b, "Go", cmd)
}

// StartProgram starts a worker that is another program. It ends with the
// benchmark.
func StartProgram(b *testing.B, language string, cmd *exec.Cmd) *Process {
	b.Helper()
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	p := &Process{fmt.Sprintf("worker %d in %s", cmd.Process.Pid, language), cmd, in, bufio.NewReader(out)}
	b.Cleanup(p.Stop)
	return p
}

// PID is the worker's process id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Stop ends the worker, which may be in the middle of something. The end of the
// benchmark does so, too.
func (p *Process) Stop() {
	p.in.Close()
	kill := time.AfterFunc(5*time.Second, func() { p.cmd.Process.Kill() })
	p.cmd.Wait()
	kill.Stop()
}

// Ask has a worker do something, and returns its result. An error of the worker
// fails the benchmark.
func Ask[Result any](b *testing.B, p *Process, do string, with any) Result {
	b.Helper()
	result, err := ask[Result](p, do, with)
	if err != nil {
		b.Fatal(err)
	}
	return result
}

// AskAll has workers do the same at the same time.
func AskAll[Result any](b *testing.B, processes []*Process, do string, with any) []Result {
	b.Helper()
	results, err := TryAskAll[Result](processes, do, with)
	if err != nil {
		b.Fatal(err)
	}
	return results
}

// TryAskAll is AskAll that returns the workers' errors.
func TryAskAll[Result any](processes []*Process, do string, with any) ([]Result, error) {
	results := make([]Result, len(processes))
	errs := make([]error, len(processes))
	var asked sync.WaitGroup
	for i, p := range processes {
		asked.Go(func() { results[i], errs[i] = ask[Result](p, do, with) })
	}
	asked.Wait()
	return results, errors.Join(errs...)
}

func ask[Result any](p *Process, do string, with any) (result Result, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("%s, %s: %w", p.name, do, err)
		}
	}()
	line, err := json.Marshal(request{do, with})
	if err != nil {
		return result, err
	}
	if _, err := p.in.Write(append(line, '\n')); err != nil {
		return result, err
	}
	answer, err := p.out.ReadBytes('\n')
	if err != nil {
		return result, err
	}
	r := reply{Result: &result}
	if err := json.NewDecoder(bytes.NewReader(answer)).Decode(&r); err != nil {
		return result, err
	}
	if r.Error != "" {
		return result, errors.New(r.Error)
	}
	return result, nil
}

// CPU is the CPU time that workers have used.
func CPU(b *testing.B, processes ...*Process) (total time.Duration) {
	b.Helper()
	for _, used := range AskAll[time.Duration](b, processes, "cpu", None{}) {
		total += used
	}
	return total
}

// RedisCPU is the CPU time that Redis's main thread has used.
func RedisCPU(b *testing.B, server *redistest.Server) (total time.Duration) {
	b.Helper()
	info := server.Info(b, "cpu")
	for _, field := range []string{"used_cpu_user_main_thread", "used_cpu_sys_main_thread"} {
		seconds, err := strconv.ParseFloat(info[field], 64)
		if err != nil {
			b.Fatal(err)
		}
		total += time.Duration(seconds * float64(time.Second))
	}
	return total
}
