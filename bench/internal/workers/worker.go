//go:build unix

package workers

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/pprof"
	"syscall"
	"time"
)

// workerEnvironment makes a test binary a worker.
const workerEnvironment = "CHANNELLAYER_BENCH_WORKER"

// profileEnvironment names a directory for CPU profiles of workers.
const profileEnvironment = "CHANNELLAYER_BENCH_PROFILES"

// request and reply are a line each.
type request struct {
	Do   string
	With any
}

type reply struct {
	Result any
	Error  string
}

// None is a command or a result that has nothing to say.
type None struct{}

// Commands are what a worker can do, by name: see [Command].
type Commands map[string]func(json.RawMessage) (any, error)

// Command makes a command of a function.
func Command[With, Result any](do func(With) (Result, error)) func(json.RawMessage) (any, error) {
	return func(raw json.RawMessage) (any, error) {
		var with With
		if err := json.Unmarshal(raw, &with); err != nil {
			return nil, err
		}
		return do(with)
	}
}

// Main is the main function of a worker, and does not return in one; otherwise
// it does nothing. A worker ends when its standard input does. Besides the
// commands it has "cpu", which returns the CPU time that it has used.
func Main(commands func() Commands) {
	if os.Getenv(workerEnvironment) == "" {
		return
	}
	if err := profiled(commands()); err != nil {
		fmt.Fprintln(os.Stderr, "benchmark worker:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func profiled(commands Commands) error {
	if dir := os.Getenv(profileEnvironment); dir != "" {
		f, err := os.Create(filepath.Join(dir, fmt.Sprintf("%d.pprof", os.Getpid())))
		if err != nil {
			return err
		}
		defer f.Close()
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	commands["cpu"] = Command(cpu)
	return work(commands, os.Stdin, os.Stdout)
}

// work does one command after the other.
func work(commands Commands, in io.Reader, out io.Writer) error {
	lines, replies := bufio.NewReader(in), json.NewEncoder(out)
	for {
		line, err := lines.ReadBytes('\n')
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		var with json.RawMessage
		q := request{With: &with}
		if err := json.Unmarshal(line, &q); err != nil {
			return err
		}
		var r reply
		if do := commands[q.Do]; do == nil {
			err = fmt.Errorf("%q is no command", q.Do)
		} else {
			r.Result, err = do(with)
		}
		if err != nil {
			r.Error = err.Error()
		}
		if err := replies.Encode(r); err != nil {
			return err
		}
	}
}

func cpu(None) (time.Duration, error) {
	var used syscall.Rusage
	err := syscall.Getrusage(syscall.RUSAGE_SELF, &used)
	return time.Duration(used.Utime.Nano() + used.Stime.Nano()), err
}
