package layertest

import (
	"context"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/channellayer/channellayer/layer"
)

// brokenLayers are all of them.
func brokenLayers() []broken {
	return slices.Concat(brokenDelivery, brokenLimits, brokenExpiry, brokenReceive, brokenGroups, brokenFailure, brokenEnd, brokenPeers)
}

// TestProof tests the suite: it runs every check against a good layer, where
// all must pass, and the checks against every broken layer, where those must
// fail that are about what is broken, and no others. Every check must fail
// somewhere. What caught what is printed by
//
//	go test ./layer/layertest -run TestProof -v
//
// Slow checks, and those between processes, meet only the broken layers that
// they have to catch, and the latter all that are broken between processes:
// otherwise this would take minutes. Under the race detector all checks meet
// only those.
func TestProof(t *testing.T) {
	all := checks()
	var mu sync.Mutex
	caughtBy := map[string][]string{} // by broken layer, the checks
	catches := map[string]bool{}      // checks that failed
	t.Run("all", func(t *testing.T) {
		t.Run("the good layer", func(t *testing.T) {
			t.Parallel()
			proveGood(t, all)
		})
		for _, b := range brokenLayers() {
			t.Run(b.name, func(t *testing.T) {
				t.Parallel()
				caught := proveBroken(t, b, all)
				mu.Lock()
				defer mu.Unlock()
				caughtBy[b.name] = caught
				for _, name := range caught {
					catches[name] = true
				}
			})
		}
	})
	if len(caughtBy) < len(brokenLayers()) {
		return // -run chose some
	}
	for _, ck := range all {
		if !catches[ck.Name] && !underRace { // where each check met too few of them
			t.Errorf("%s passes on every broken layer: what would it catch?", ck.Name)
		}
	}
	for _, b := range brokenLayers() {
		t.Logf("%s\n\t%s", b.name, strings.Join(caughtBy[b.name], "\n\t"))
	}
}

func proveGood(t *testing.T, all []check) {
	good := broken{wrap: func(m *making) layer.Layer { return m.good() }}
	for _, ck := range all {
		r := runCheck(t, good.backend(), ck)
		if r.skipped != "" {
			t.Errorf("%s does not apply: %s", ck.Name, r.skipped)
		}
		for _, f := range r.failures {
			t.Errorf("%s fails: rule %d: %s", ck.Name, f.rule, f.text)
		}
	}
}

// proveBroken runs the checks against a broken layer, and returns the names of
// those that failed.
func proveBroken(t *testing.T, b broken, all []check) (caught []string) {
	for _, pattern := range slices.Concat(b.must, b.may) {
		if !slices.ContainsFunc(all, func(ck check) bool { return matches(ck.Name, pattern) }) {
			t.Errorf("no check is called %q", pattern)
		}
	}
	for _, ck := range all {
		must := matches(ck.Name, b.must...)
		if !must && (underRace || slow(ck) || ck.Peer && !b.peers) {
			continue
		}
		r := runCheck(t, b.backend(), ck)
		if len(r.failures) == 0 {
			if must {
				t.Errorf("%s passes (skipped: %q), though: %s", ck.Name, r.skipped, b.name)
			}
			continue
		}
		caught = append(caught, ck.Name)
		if must || matches(ck.Name, b.may...) {
			continue
		}
		for _, f := range r.failures {
			t.Errorf("%s fails, which has nothing to do with what is broken: rule %d: %s", ck.Name, f.rule, f.text)
		}
	}
	if len(caught) == 0 {
		t.Errorf("no check noticed: %s", b.name)
	}
	return caught
}

// slow reports whether a check is one of those that take more time than all
// others together.
func slow(ck check) bool {
	return ck.Heavy || matches(ck.Name, "Model/*", "Rule02FIFO/send_*", "Rule02FIFO/group_send_only*", "Rule02FIFO/several_groups*",
		"Rule03Isolation/types_*", "Rule07Groups/many_members*", "Rule08Size/default_limit")
}

func matches(name string, patterns ...string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool {
		ok, err := path.Match(pattern, name)
		return ok && err == nil
	})
}

// backend makes the broken layer on a bus in memory.
func (b broken) backend() Backend {
	return Backend{
		New: func(tb testing.TB, config Config) layer.Layer {
			return b.layer(tb, config, func(c Config) layer.Layer { return newBus(tb, c) })
		},
		Peer: func(tb testing.TB, config Config, first layer.Layer) layer.Layer {
			return b.layer(tb, config, func(c Config) layer.Layer { return onBus(first).bus.join(tb, c) })
		},
		Clock: Synctest(),
	}
}

func (b broken) layer(tb testing.TB, config Config, makeGood func(Config) layer.Layer) layer.Layer {
	stop, end := context.WithCancel(context.Background())
	tb.Cleanup(end)
	return b.wrap(&making{tb: tb, Config: config, make: makeGood, stop: stop})
}

// onBus returns the process that a broken layer is made of.
func onBus(l layer.Layer) *process {
	for {
		if p, ok := l.(*process); ok {
			return p
		}
		l = l.(interface{ Unwrap() layer.Layer }).Unwrap()
	}
}
