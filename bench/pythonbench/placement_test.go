//go:build unix

package pythonbench

import (
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/channellayer/channellayer/internal/redistest"
)

// placementEnvironment says which CPU the sender has, Redis, and the receivers:
// "0,1,1", say. Without it the system chooses, and may choose for one pair what
// it does not for another; with it a difference between pairs is theirs.
const placementEnvironment = "CHANNELLAYER_BENCH_CPUS"

// place puts a fleet and its server where the environment says.
func place(b *testing.B, f *fleet, server *redistest.Server) {
	b.Helper()
	value := os.Getenv(placementEnvironment)
	if value == "" {
		return
	}
	cpus := strings.Split(value, ",")
	if len(cpus) != 3 {
		b.Fatalf(`%s is %q, want three CPUs as in "0,1,1": the sender's, Redis', the receivers'`, placementEnvironment, value)
	}
	move := func(pid int, cpu string) {
		if out, err := exec.Command("taskset", "-acp", cpu, strconv.Itoa(pid)).CombinedOutput(); err != nil {
			b.Fatalf("%s is %q: taskset: %v\n%s", placementEnvironment, value, err, out)
		}
	}
	move(f.sender.PID(), cpus[0])
	move(server.PID(), cpus[1])
	for _, p := range f.receivers {
		move(p.PID(), cpus[2])
	}
}
