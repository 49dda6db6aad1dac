package layertest

import (
	"path"
	"strings"
	"testing"
)

// TestList prints every check, with its rule and what it shows.
func TestList(t *testing.T) {
	seen := map[string]bool{}
	for _, ck := range checks() {
		needs := ""
		if ck.Peer {
			needs = " [needs Backend.Peer]"
		}
		t.Logf("rule %2d  %s%s\n         %s", ck.Rule, ck.Name, needs, ck.Doc)
		switch {
		case seen[ck.Name]:
			t.Errorf("two checks are named %q", ck.Name)
		case ck.Doc == "" || ck.Run == nil:
			t.Errorf("check %q has no text or no function", ck.Name)
		case ck.Rule < 0 || ck.Rule > 13:
			t.Errorf("check %q is of rule %d; the contract has 13", ck.Name, ck.Rule)
		case path.Dir(ck.Name) == "." || strings.Count(ck.Name, "/") != 1:
			t.Errorf("check %q is not named group/check", ck.Name)
		}
		seen[ck.Name] = true
	}
}

// TestEveryRuleHasChecks shows that no rule of the contract goes untested.
func TestEveryRuleHasChecks(t *testing.T) {
	count := map[int]int{}
	for _, ck := range checks() {
		count[ck.Rule]++
	}
	for rule := 1; rule <= 13; rule++ {
		if count[rule] == 0 {
			t.Errorf("rule %d has no check", rule)
		}
	}
}

func TestExceptionsMustName(t *testing.T) {
	all := checks()
	for _, test := range []struct {
		name string
		e    Exception
		ok   bool
	}{
		{"a check", Exception{"Rule02FIFO/send_only", "reason"}, true},
		{"a pattern", Exception{"Rule06Expiry/*", "reason"}, true},
		{"a check that does not exist", Exception{"Rule02FIFO/nothing", "reason"}, false},
		{"no reason", Exception{"Rule02FIFO/send_only", ""}, false},
		{"a bad pattern", Exception{"[", "reason"}, false},
	} {
		if found := problems([]Exception{test.e}, all); (len(found) == 0) != test.ok {
			t.Errorf("%s: problems with %+v are %q, want some: %t", test.name, test.e, found, !test.ok)
		}
	}
}
