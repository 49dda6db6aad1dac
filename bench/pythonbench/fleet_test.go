//go:build unix

package pythonbench

import (
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/channellayer/channellayer/bench/internal/workers"
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

func startProcess(b *testing.B, language string) *workers.Process {
	b.Helper()
	if language == inPython {
		return workers.StartProgram(b, language, exec.Command(python, "-c", pythonWorker))
	}
	return workers.Start(b)
}

// fleet is a process that sends, and processes that receive.
type fleet struct {
	sender    *workers.Process
	receivers []*workers.Process
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
	workers.Ask[workers.None](b, f.sender, "open", open)
	for open.Window.Slot = range r.processes {
		receiver := startProcess(b, p.receiver)
		workers.Ask[workers.None](b, receiver, "open", open)
		f.receivers = append(f.receivers, receiver)
	}
	join := joinCommand{Groups: r.groups, Members: r.members / r.processes, Stamped: r.rate}
	for _, addresses := range workers.AskAll[[]string](b, f.receivers, "join", join) {
		f.addresses = append(f.addresses, addresses...)
	}
	if r.layer == pubSub && p.receiver == inPython {
		f.awaitSubscriptions(b, server, r, open.Prefix)
	}
	place(b, f, server)
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

func check(b *testing.B, err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}
