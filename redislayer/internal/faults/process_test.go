package faults

import (
	"bufio"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// process is one operating-system process of a fleet.
type process struct {
	cmd    *exec.Cmd
	in     io.WriteCloser
	out    *bufio.Reader
	stderr strings.Builder
	once   sync.Once
}

func startProcess(t *testing.T) *process {
	self, err := os.Executable()
	require.NoError(t, err)
	p := &process{cmd: exec.Command(self)}
	p.cmd.Env = append(os.Environ(), workerVariable+"=1")
	p.cmd.Stderr = &p.stderr
	p.in, err = p.cmd.StdinPipe()
	require.NoError(t, err)
	out, err := p.cmd.StdoutPipe()
	require.NoError(t, err)
	p.out = bufio.NewReader(out)
	require.NoError(t, p.cmd.Start())
	t.Cleanup(func() {
		p.once.Do(func() {
			p.cmd.Process.Kill()
			p.cmd.Wait()
		})
		if t.Failed() && p.stderr.Len() > 0 {
			t.Logf("process %d wrote:\n%s", p.cmd.Process.Pid, p.stderr.String())
		}
	})
	return p
}

// ask gives a command and waits for the answer.
func (p *process) ask(t *testing.T, c command) (a answer) {
	t.Helper()
	line, err := json.Marshal(c)
	require.NoError(t, err)
	_, err = p.in.Write(append(line, '\n'))
	require.NoError(t, err)
	line, err = p.out.ReadBytes('\n')
	require.NoError(t, err, "a process of the fleet ended")
	require.NoError(t, json.Unmarshal(line, &a))
	require.Empty(t, a.Error)
	return a
}

// end awaits the end of the process, which must have found no data race.
func (p *process) end(t *testing.T) {
	p.in.Close()
	p.once.Do(func() {
		require.NoError(t, p.cmd.Wait(), "a process of the fleet")
	})
}
