//go:build unix

package redisbench

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/channellayer/channellayer/bench/internal/workers"
	"github.com/channellayer/channellayer/internal/redistest"
)

func TestMain(m *testing.M) {
	workers.Main(commands)
	os.Exit(m.Run())
}

// fleet is a process that sends, and processes that receive.
type fleet struct {
	server    *redistest.Server
	sender    *workers.Process
	receivers []*workers.Process
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
	f := &fleet{server: server, sender: workers.Start(b)}
	for range plan.receivers {
		f.receivers = append(f.receivers, workers.Start(b))
	}
	// A prefix of its own keeps it from what others have left at the server.
	open := openCommand{Bus: plan.bus, Addr: server.Addr(), Prefix: "bench" + strconv.FormatInt(time.Now().UnixNano(), 36),
		Busses: 1, Capacity: plan.capacity, Window: plan.window}
	workers.Ask[workers.None](b, f.sender, "open", open)
	open.Busses = plan.busses
	workers.AskAll[workers.None](b, f.receivers, "open", open)
	return f
}

// run warms up, then sends in rounds. It reports the rate, and the time that
// the sender's, the receivers' and Redis's CPUs spent on a message: those are
// steadier than the rate where others use the machine.
func (f *fleet) run(b *testing.B, c sendCommand, unit string) {
	b.Helper()
	warmUp := c
	warmUp.For = warmUpTime
	workers.Ask[sendResult](b, f.sender, "send", warmUp)
	var total sendResult
	redis, sender, receivers := readUsage(b, f.server), workers.CPU(b, f.sender), workers.CPU(b, f.receivers...)
	for b.Loop() {
		r := workers.Ask[sendResult](b, f.sender, "send", c)
		total.Sent += r.Sent
		total.Took += r.Took
	}
	sender, receivers = workers.CPU(b, f.sender)-sender, workers.CPU(b, f.receivers...)-receivers
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

// check fails the benchmark if anything was dropped. (What was lost otherwise
// has stopped the window.)
func (f *fleet) check(b *testing.B) {
	b.Helper()
	workers.AskAll[workers.None](b, append([]*workers.Process{f.sender}, f.receivers...), "check", workers.None{})
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
	u := usage{workers.RedisCPU(b, server), map[string]commandUsage{}}
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
