package layertest

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/channellayer/channellayer/layer"
)

// Backend tells the suite how to make the layers it tests.
type Backend struct {
	// New makes a layer on a fresh, empty bus: what one call returns never
	// meets what another does. It must be set, and may be called from several
	// goroutines. It ends the test (tb.Fatal) if it cannot. The suite closes
	// the layer; what else New started is ended by tb.Cleanup.
	New func(tb testing.TB, config Config) layer.Layer

	// Peer makes another process on the bus that first is on. Leave it nil for
	// a layer that lives in one process: the checks between processes do not
	// apply to it then.
	Peer func(tb testing.TB, config Config, first layer.Layer) layer.Layer

	// Clock is how time passes. The zero value is [RealTime].
	Clock Clock

	// Unit is the shortest time that the backend tells apart reliably; the
	// expiries in the checks are some multiples of it. Default 100 ms.
	Unit time.Duration

	// Seed makes the random checks repeat what they did: a failure prints it.
	// The default, 0, takes a new one for every check.
	Seed uint64

	// Declared are the checks that the backend cannot pass, with the reason.
	// They are skipped, which prints the reason.
	Declared []Exception
}

// Config is what a layer under test must be configured with.
type Config struct {
	Limits   layer.Limits // zero fields stand for the defaults: see its WithDefaults
	Observer layer.Observer
}

// Exception declares that a backend cannot pass a check.
type Exception struct {
	// Check is the name of a check, or a pattern as [path.Match] takes it:
	// "Rule06Expiry/*" is every check of rule 6. It must match at least one.
	Check string

	// Reason is for the backend's users to read.
	Reason string
}

// Clock says how time passes for a backend.
type Clock struct {
	// Run runs one check.
	Run func(t *testing.T, check func(t *testing.T))

	// Sleep lets d pass for the layer under test.
	Sleep func(d time.Duration)

	// Virtual says that sleeping costs nothing. Checks run one after the
	// other then, and random checks run longer. Otherwise they run in
	// parallel, as many at a time as the flag -parallel says.
	Virtual bool
}

// RealTime is the clock on the wall, for layers that talk to a real broker.
func RealTime() Clock {
	return Clock{Run: func(t *testing.T, check func(*testing.T)) { check(t) }, Sleep: time.Sleep}
}

// Synctest runs each check in a bubble of [testing/synctest], where waiting
// costs nothing. It is for layers wholly in memory: one goroutine that waits
// for a network stops the bubble's time.
func Synctest() Clock {
	return Clock{Run: synctest.Test, Sleep: time.Sleep, Virtual: true}
}

// withDefaults fills in what the author left out.
func (b Backend) withDefaults() Backend {
	if b.Clock.Run == nil {
		b.Clock.Run = RealTime().Run
	}
	if b.Clock.Sleep == nil {
		b.Clock.Sleep = time.Sleep
	}
	if b.Unit <= 0 {
		b.Unit = 100 * time.Millisecond
	}
	return b
}
