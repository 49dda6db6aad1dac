package layertest

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"testing"
	"time"
)

// Run runs every check of the suite against the backend, each as a subtest
// named after the rule of the contract it tests.
func Run(t *testing.T, backend Backend) {
	if backend.New == nil {
		t.Fatal("layertest: Backend.New is not set")
	}
	backend = backend.withDefaults()
	all := checks()
	for _, problem := range problems(backend.Declared, all) {
		t.Error(problem)
	}
	var inapplicable []string
	for group, members := range grouped(all) {
		members = slices.DeleteFunc(members, func(ck check) bool {
			if ck.Peer && backend.Peer == nil {
				inapplicable = append(inapplicable, ck.Name)
				return true
			}
			return false
		})
		if len(members) == 0 {
			continue
		}
		t.Run(group, func(t *testing.T) {
			for _, ck := range members {
				t.Run(path.Base(ck.Name), func(t *testing.T) { runDeclared(t, backend, ck) })
			}
		})
	}
	if len(inapplicable) > 0 {
		t.Logf("not applicable, since the layer lives in one process (Backend.Peer is nil): %d checks: %s",
			len(inapplicable), strings.Join(inapplicable, ", "))
	}
}

// runDeclared runs one check, unless an exception is declared, and reports to t.
func runDeclared(t *testing.T, backend Backend, ck check) {
	for _, e := range backend.Declared {
		if e.covers(ck) {
			t.Skipf("declared: %s", e.Reason)
		}
	}
	if !backend.Clock.Virtual && !ck.Heavy {
		t.Parallel()
	}
	r := runCheck(t, backend, ck)
	for _, note := range r.notes {
		t.Log(note)
	}
	for _, f := range r.failures {
		t.Error(f)
	}
	if len(r.failures) > 0 {
		t.Logf("%s is to show: %s", ck.Name, ck.Doc)
		if r.random {
			t.Logf("set Backend.Seed to %d to repeat it", r.seed)
		}
		return
	}
	if r.skipped != "" {
		t.Skip(r.skipped)
	}
}

// covers reports whether the exception is about the check.
func (e Exception) covers(ck check) bool {
	ok, _ := path.Match(e.Check, ck.Name) // problems reports a bad pattern
	return ok
}

// problems says what is wrong with declared exceptions.
func problems(declared []Exception, all []check) (found []string) {
	for _, e := range declared {
		if e.Reason == "" {
			found = append(found, fmt.Sprintf("layertest: the exception for %q gives no reason", e.Check))
		}
		if !slices.ContainsFunc(all, e.covers) {
			found = append(found, fmt.Sprintf("layertest: an exception is declared for %q, but no check has this name", e.Check))
		}
	}
	return found
}

// grouped yields the checks by the first part of their names, in order.
func grouped(all []check) func(yield func(string, []check) bool) {
	return func(yield func(string, []check) bool) {
		for len(all) > 0 {
			group := path.Dir(all[0].Name)
			n := slices.IndexFunc(all, func(ck check) bool { return path.Dir(ck.Name) != group })
			if n < 0 {
				n = len(all)
			}
			if !yield(group, slices.Clone(all[:n])) {
				return
			}
			all = all[n:]
		}
	}
}

// result is what came of one check.
type result struct {
	failures []failure // none: it passed, or was skipped
	skipped  string    // why the check does not apply to this layer
	notes    []string  // for people to read
	seed     uint64
	random   bool // whether the check used the seed
}

// failure is one broken promise. Its rule may differ from the check's: each
// check also notices leaked goroutines, for example, which break rule 11.
type failure struct {
	rule int
	text string
}

// hangLimit is for how long, in real time, a check may run. It ends checks
// that the limit on each call cannot end: a goroutine in a synctest bubble
// that waits for a mutex for ever stops the time in which that limit is
// measured. Where time is real, a check may have a lot to do.
func (b Backend) hangLimit() time.Duration {
	if b.Clock.Virtual {
		return time.Minute
	}
	return 5 * time.Minute
}

// runCheck runs one check and collects its failures. It never fails t by
// itself; Backend.New may.
func runCheck(t *testing.T, backend Backend, ck check) result {
	t.Helper()
	backend = backend.withDefaults()
	c := newChecker(backend, ck)
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() {
			if p := recover(); p != nil { // synctest panics when goroutines remain
				c.stuck(fmt.Sprint(p))
			}
		}()
		backend.Clock.Run(t, c.run)
	}()
	hang := time.NewTimer(backend.hangLimit())
	defer hang.Stop()
	select {
	case <-done:
		c.findLeaks()
	case <-hang.C:
		c.add(failure{10, fmt.Sprintf("the check did not end within %v of real time; calls under way: %s\n%s",
			backend.hangLimit(), c.underWay(), c.labelled())})
		c.abandon()
	}
	return c.result()
}

func (f failure) String() string {
	if f.rule == 0 {
		return f.text
	}
	return fmt.Sprintf("rule %d: %s", f.rule, f.text)
}
