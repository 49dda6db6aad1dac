//go:build !unix

package faults

import "testing"

// Redis runs on Unix only, so no test comes here.
func (p *process) pause(t *testing.T)  { t.Skip("processes cannot be paused here") }
func (p *process) resume(t *testing.T) {}
