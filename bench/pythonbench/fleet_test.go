//go:build unix

package pythonbench

import (
	"bufio"
	"bytes"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/channellayer/channellayer/internal/redistest"
	"github.com/channellayer/channellayer/internal/testneed"
)

// python is Debian's, which has the packages; another python3 in PATH may not.
const python = "/usr/bin/python3"

//go:embed worker.py
var pythonWorker string

func needPython(b *testing.B) {
	b.Helper()
	if out, err := exec.Command(python, "-c", "import channels_redis").CombinedOutput(); err != nil {
		testneed.Missing(b, fmt.Sprintf("channels_redis in %s: %v\n%s", python, err, out), "on Debian: apt-get install python3-channels-redis")
	}
}

// process is a worker, seen from outside.
type process struct {
	language string
	cmd      *exec.Cmd
	in       io.WriteCloser
	out      *bufio.Reader
}

func startProcess(b *testing.B, language string) *process {
	b.Helper()
	p := &process{language: language}
	if language == inPython {
		p.cmd = exec.Command(python, "-c", pythonWorker)
	} else {
		program, err := os.Executable()
		check(b, err)
		p.cmd = exec.Command(program)
		p.cmd.Env = append(os.Environ(), workerEnvironment+"=1")
	}
	p.cmd.Stderr = os.Stderr
	var err error
	p.in, err = p.cmd.StdinPipe()
	check(b, err)
	out, err := p.cmd.StdoutPipe()
	check(b, err)
	p.out = bufio.NewReader(out)
	check(b, p.cmd.Start())
	b.Cleanup(p.stop)
	return p
}

// stop ends the worker, which may be in the middle of something.
func (p *process) stop() {
	p.in.Close()
	kill := time.AfterFunc(5*time.Second, func() { p.cmd.Process.Kill() })
	p.cmd.Wait()
	kill.Stop()
}

// ask has a worker do something, and returns its result.
func ask[Result any](b *testing.B, p *process, do string, with any) Result {
	b.Helper()
	result, err := tryAsk[Result](p, do, with)
	if err != nil {
		b.Fatal(err)
	}
	return result
}

func tryAsk[Result any](p *process, do string, with any) (result Result, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("worker in %s, %s: %w", p.language, do, err)
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

// askAll has all workers do the same at the same time.
func askAll[Result any](b *testing.B, processes []*process, do string, with any) []Result {
	b.Helper()
	results := make([]Result, len(processes))
	errs := make([]error, len(processes))
	var asked sync.WaitGroup
	for i, p := range processes {
		asked.Go(func() { results[i], errs[i] = tryAsk[Result](p, do, with) })
	}
	asked.Wait()
	check(b, errors.Join(errs...))
	return results
}

// fleet is a process that sends, and processes that receive.
type fleet struct {
	sender    *process
	receivers []*process
	addresses []string // of members without a group
}

// startFleet starts the processes of a row, with their members.
func startFleet(b *testing.B, server *redistest.Server, r row, p pair) *fleet {
	b.Helper()
	file := filepath.Join(b.TempDir(), "window")
	check(b, os.WriteFile(file, make([]byte, r.processes*wordBytes), 0o600))
	open := openCommand{
		Layer:    r.layer,
		Addr:     server.Addr(),
		Prefix:   "bench" + strconv.FormatInt(time.Now().UnixNano(), 36), // apart from what others have left at the server
		Capacity: 2 * r.ahead,
		Window: windowCommand{File: file, Slots: r.processes, Generation: r.generation, Ahead: r.ahead, Fan: r.fan,
			Members: max(1, r.groups) * r.members / r.processes},
	}
	f := &fleet{sender: startProcess(b, p.sender)}
	ask[none](b, f.sender, "open", open)
	for open.Window.Slot = range r.processes {
		receiver := startProcess(b, p.receiver)
		ask[none](b, receiver, "open", open)
		f.receivers = append(f.receivers, receiver)
	}
	join := joinCommand{Groups: r.groups, Members: r.members / r.processes, Stamped: r.rate}
	for _, addresses := range askAll[[]string](b, f.receivers, "join", join) {
		f.addresses = append(f.addresses, addresses...)
	}
	if r.layer == pubSub && p.receiver == inPython {
		f.awaitSubscriptions(b, server, r, open.Prefix)
	}
	return f
}

// awaitSubscriptions waits until Redis has all subscriptions: Python, other than
// Go, does not wait for the answer when it subscribes.
func (f *fleet) awaitSubscriptions(b *testing.B, server *redistest.Server, r row, prefix string) {
	b.Helper()
	subjects := f.addresses
	for g := range r.groups {
		subjects = append(subjects, prefix+"__group__"+groupName(g))
	}
	client := server.Client(b)
	for began := time.Now(); ; time.Sleep(5 * time.Millisecond) {
		subscribers, err := client.PubSubNumSub(b.Context(), subjects...).Result()
		check(b, err)
		missing := 0
		for _, n := range subscribers {
			if n < int64(r.processes) {
				missing++
			}
		}
		if missing == 0 {
			return
		}
		if time.Since(began) > stallTime {
			b.Fatalf("%d of %d subscriptions are missing after %v", missing, len(subjects), stallTime)
		}
	}
}

// cpu is the CPU time that workers have used.
func (f *fleet) cpu(b *testing.B, processes ...*process) (total time.Duration) {
	b.Helper()
	for _, used := range askAll[time.Duration](b, processes, "cpu", none{}) {
		total += used
	}
	return total
}

// redisCPU is the CPU time that Redis's main thread has used.
func redisCPU(b *testing.B, server *redistest.Server) (total time.Duration) {
	b.Helper()
	info := server.Info(b, "cpu")
	for _, field := range []string{"used_cpu_user_main_thread", "used_cpu_sys_main_thread"} {
		seconds, err := strconv.ParseFloat(info[field], 64)
		check(b, err)
		total += time.Duration(seconds * float64(time.Second))
	}
	return total
}

func check(b *testing.B, err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}
