//go:build unix

package redisbench

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/channellayer/channellayer/internal/redistest"
)

func TestMain(m *testing.M) {
	if os.Getenv(workerEnvironment) != "" {
		os.Exit(workerMain())
	}
	os.Exit(m.Run())
}

// process is a worker, seen from outside.
type process struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

func startProcess(b *testing.B) *process {
	b.Helper()
	program, err := os.Executable()
	check(b, err)
	p := &process{cmd: exec.Command(program)}
	p.cmd.Env = append(os.Environ(), workerEnvironment+"=1")
	p.cmd.Stderr = os.Stderr
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
		b.Fatalf("worker %d, %s: %v", p.cmd.Process.Pid, do, err)
	}
	return result
}

func tryAsk[Result any](p *process, do string, with any) (result Result, err error) {
	raw, err := json.Marshal(with)
	if err != nil {
		return result, err
	}
	line, err := json.Marshal(request{do, raw})
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
	if err := json.Unmarshal(answer, &r); err != nil {
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
	if err := tryAskAll(processes, do, with, results); err != nil {
		b.Fatal(err)
	}
	return results
}

func tryAskAll[Result any](processes []*process, do string, with any, results []Result) error {
	errs := make([]error, len(processes))
	var asked sync.WaitGroup
	for i, p := range processes {
		asked.Go(func() {
			var err error
			if results[i], err = tryAsk[Result](p, do, with); err != nil {
				errs[i] = fmt.Errorf("worker %d of %d, %s: %w", i+1, len(processes), do, err)
			}
		})
	}
	asked.Wait()
	return errors.Join(errs...)
}

// fleet is a process that sends, and processes that receive.
type fleet struct {
	server    *redistest.Server
	sender    *process
	receivers []*process
}

// fleetPlan says who is in a fleet.
type fleetPlan struct {
	bus       string
	receivers int // operating system processes
	busses    int // in each of them
	capacity  int
	window    windowCommand
}

func startFleet(b *testing.B, server *redistest.Server, plan fleetPlan) *fleet {
	b.Helper()
	plan.window.File = filepath.Join(b.TempDir(), "window")
	check(b, os.WriteFile(plan.window.File, make([]byte, pageSize), 0o600))
	f := &fleet{server: server, sender: startProcess(b)}
	for range plan.receivers {
		f.receivers = append(f.receivers, startProcess(b))
	}
	// A prefix of its own keeps it from what others have left at the server.
	open := openCommand{Bus: plan.bus, Addr: server.Addr(), Prefix: "bench" + strconv.FormatInt(time.Now().UnixNano(), 36),
		Busses: 1, Capacity: plan.capacity, Window: plan.window}
	ask[none](b, f.sender, "open", open)
	open.Busses = plan.busses
	askAll[none](b, f.receivers, "open", open)
	return f
}

// run warms up, then sends in rounds. It reports the rate, and the time that
// the sender's, the receivers' and Redis's CPUs spent on a message: those are
// steadier than the rate where others use the machine.
func (f *fleet) run(b *testing.B, c sendCommand, unit string) {
	b.Helper()
	warmUp := c
	warmUp.For = warmUpTime
	ask[sendResult](b, f.sender, "send", warmUp)
	var total sendResult
	redis, sender, receivers := readUsage(b, f.server), f.cpu(b, f.sender), f.cpu(b, f.receivers...)
	for b.Loop() {
		r := ask[sendResult](b, f.sender, "send", c)
		total.Sent += r.Sent
		total.Took += r.Took
	}
	sender, receivers = f.cpu(b, f.sender)-sender, f.cpu(b, f.receivers...)-receivers
	used := readUsage(b, f.server).since(redis)
	f.check(b)
	each := func(d time.Duration) float64 { return float64(d) / 1e3 / float64(total.Sent) }
	b.ReportMetric(0, "ns/op") // of a round, which has a fixed time
	b.ReportMetric(float64(total.Sent)/total.Took.Seconds(), unit)
	b.ReportMetric(each(sender), "sender-µs")
	b.ReportMetric(each(receivers), "receivers-µs")
	b.ReportMetric(each(used.cpu), "redis-µs")
	b.ReportMetric(each(used.commands["evalsha"].time+used.commands["publish"].time), "command-µs")
	calls := used.commands["evalsha"].calls + used.commands["publish"].calls
	b.ReportMetric(float64(calls)/float64(total.Sent), "commands")
	b.ReportMetric(float64(used.commands["xread"].calls)/float64(total.Sent), "xreads")
}

// cpu is the CPU time that workers have used.
func (f *fleet) cpu(b *testing.B, processes ...*process) (total time.Duration) {
	b.Helper()
	for _, used := range askAll[time.Duration](b, processes, "cpu", none{}) {
		total += used
	}
	return total
}

// check fails the benchmark if anything was dropped. (What was lost otherwise
// has stopped the window.)
func (f *fleet) check(b *testing.B) {
	b.Helper()
	askAll[none](b, append([]*process{f.sender}, f.receivers...), "check", none{})
}

// usage is what Redis has used of its main thread, and in commands.
type usage struct {
	cpu      time.Duration
	commands map[string]commandUsage
}

type commandUsage struct {
	calls int
	time  time.Duration
}

func readUsage(b *testing.B, server *redistest.Server) usage {
	b.Helper()
	cpu := server.Info(b, "cpu")
	u := usage{commands: map[string]commandUsage{}}
	for _, field := range []string{"used_cpu_user_main_thread", "used_cpu_sys_main_thread"} {
		seconds, err := strconv.ParseFloat(cpu[field], 64)
		check(b, err)
		u.cpu += time.Duration(seconds * float64(time.Second))
	}
	for name, text := range server.Info(b, "commandstats") {
		var c commandUsage
		for part := range strings.SplitSeq(text, ",") {
			switch key, value, _ := strings.Cut(part, "="); key {
			case "calls":
				c.calls, _ = strconv.Atoi(value)
			case "usec":
				micros, _ := strconv.Atoi(value)
				c.time = time.Duration(micros) * time.Microsecond
			}
		}
		u.commands[strings.TrimPrefix(name, "cmdstat_")] = c
	}
	return u
}

func (u usage) since(before usage) usage {
	d := usage{u.cpu - before.cpu, map[string]commandUsage{}}
	for name, c := range u.commands {
		was := before.commands[name]
		d.commands[name] = commandUsage{c.calls - was.calls, c.time - was.time}
	}
	return d
}

func check(b *testing.B, err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

// eachBus runs a benchmark on busses, for `benchstat -col /bus`.
func eachBus(b *testing.B, run func(b *testing.B, bus string), busses ...string) {
	for _, bus := range busses {
		b.Run("bus="+bus, func(b *testing.B) { run(b, bus) })
	}
}
