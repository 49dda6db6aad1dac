// Package testneed skips tests whose programs are not installed, and says which
// package to install. With CHANNELLAYER_REQUIRE_ALL=1 in the environment, as in
// continuous integration, such a test fails instead: there, a test that did not
// run must not look like one that passed.
package testneed

import (
	"os"
	"os/exec"
	"testing"
)

// requireAll is the environment variable that turns skips into failures.
const requireAll = "CHANNELLAYER_REQUIRE_ALL"

// debianPackages names the Debian package of a program where the two differ.
var debianPackages = map[string]string{
	"redis-cli":      "redis-tools",
	"valkey-cli":     "valkey-tools",
	"valkey-server":  "valkey",
	"node":           "nodejs",
	"firefox":        "firefox-esr",
	"google-chrome":  "chromium",
	"headless-shell": "chromium-headless-shell",
	"sh":             "dash",
}

// Programs skips the test unless every program is found in PATH. It must be
// called from the test's own goroutine, as [testing.TB.Skip] must.
func Programs(tb testing.TB, programs ...string) {
	tb.Helper()
	for _, program := range programs {
		if _, err := exec.LookPath(program); err != nil {
			debian := program
			if name, ok := debianPackages[program]; ok {
				debian = name
			}
			Missing(tb, "the program "+program, "on Debian: apt-get install "+debian)
		}
	}
}

// Missing skips the test, or fails it where everything is required, because
// something that is not a program in PATH is not there: what is missing, and
// how to get it. It does not return.
func Missing(tb testing.TB, what, remedy string) {
	tb.Helper()
	if os.Getenv(requireAll) == "1" {
		tb.Fatalf("MISSING, and %s=1: %s (%s)", requireAll, what, remedy)
	}
	tb.Skipf("NOT TESTED, MISSING: %s (%s); set %s=1 to make this a failure", what, remedy, requireAll)
}
