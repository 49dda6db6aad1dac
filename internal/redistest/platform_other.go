//go:build !unix

package redistest

import "syscall"

// Redis runs on Unix only, so tests are skipped here before any of this
// matters; it lets them compile.
const (
	signalStop     = syscall.Signal(-1)
	signalContinue = syscall.Signal(-1)
)

func inGroup(int) *syscall.SysProcAttr { return nil }
