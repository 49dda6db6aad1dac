//go:build unix

package faults

import (
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// pause stops the process, which then answers nothing, until resume.
func (p *process) pause(t *testing.T)  { p.signal(t, syscall.SIGSTOP) }
func (p *process) resume(t *testing.T) { p.signal(t, syscall.SIGCONT) }

func (p *process) signal(t *testing.T, s syscall.Signal) {
	t.Helper()
	require.NoError(t, p.cmd.Process.Signal(s))
}
