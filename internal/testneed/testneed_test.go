package testneed_test

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/channellayer/channellayer/internal/testneed"
)

// recorder is a TB that remembers how it was ended.
type recorder struct {
	testing.TB
	skipped, failed string
}

func (r *recorder) Helper() {}

func (r *recorder) Skipf(format string, args ...any) {
	r.skipped = fmt.Sprintf(format, args...)
	runtime.Goexit()
}

func (r *recorder) Fatalf(format string, args ...any) {
	r.failed = fmt.Sprintf(format, args...)
	runtime.Goexit()
}

// record runs Programs as a test would, and says whether it returned.
func record(t *testing.T, programs ...string) (r *recorder, returned bool) {
	r = &recorder{TB: t}
	done := make(chan struct{})
	go func() {
		defer close(done)
		testneed.Programs(r, programs...)
		returned = true
	}()
	<-done
	return r, returned
}

func TestPrograms(t *testing.T) {
	for _, test := range []struct {
		name       string
		requireAll string
		programs   []string
		skipped    string
		failed     string
	}{
		{"present", "", []string{"go"}, "", ""},
		{"present and required", "1", []string{"go"}, "", ""},
		{"missing", "", []string{"go", "no-such-program"}, "apt-get install no-such-program", ""},
		{"missing and required", "1", []string{"no-such-program"}, "", "the program no-such-program"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Setenv("CHANNELLAYER_REQUIRE_ALL", test.requireAll)
			r, returned := record(t, test.programs...)
			if (r.skipped == "") != (test.skipped == "") || !strings.Contains(r.skipped, test.skipped) {
				t.Errorf("skipped with %q, want %q", r.skipped, test.skipped)
			}
			if (r.failed == "") != (test.failed == "") || !strings.Contains(r.failed, test.failed) {
				t.Errorf("failed with %q, want %q", r.failed, test.failed)
			}
			if want := test.skipped == "" && test.failed == ""; returned != want {
				t.Errorf("returned = %v, want %v", returned, want)
			}
		})
	}
}
