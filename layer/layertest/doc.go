// Package layertest proves that a channel layer keeps the contract of package
// layer. The author of a backend hands it a function that makes layers, and
// [Run] does the rest.
//
// # Using the suite
//
//	func TestConformance(t *testing.T) {
//		layertest.Run(t, layertest.Backend{
//			New: func(tb testing.TB, c layertest.Config) layer.Layer {
//				l, err := mylayer.New(mylayer.Options{Limits: c.Limits, Observer: c.Observer})
//				if err != nil {
//					tb.Fatal(err)
//				}
//				return l
//			},
//		})
//	}
//
// Every call of New makes a layer on a fresh, empty bus: under a key prefix of
// its own, say. The layer must take the limits and the observer it is given.
// The suite closes what it was given; what else New needs to undo belongs in
// tb.Cleanup. What several calls share (a broker, a pool of connections) is
// started before Run: the suite takes every goroutine that New starts for the
// layer's, and looks whether it is gone after Close.
//
// A backend that connects processes sets Peer as well, which makes another
// layer on the bus of the first. The checks between processes exist for such
// backends only; for others they are listed as not applicable.
//
// # Checks
//
// A check is named after the rule that it tests, "Rule02FIFO/send_only", and is
// a subtest of this name:
//
//	go test -run 'TestConformance/Rule02FIFO' ./mylayer
//
// Those that end in _from_peer do the same as the ones without, but with
// another process as the writer. "Model/random_operations" compares random
// runs with a small model of the contract, "Load/everything_counted" sends
// 100,000 messages (a tenth of that with -short) and accounts for every
// delivery; run both with -race. This prints all checks, with what each shows:
//
//	go test -run TestList -v github.com/channellayer/channellayer/layer/layertest
//
// A failure says which rule is broken, what was expected and what was seen. It
// may name another rule than the check does: at the end of every check the
// suite also looks for leaked goroutines (rule 11), for gaps reported without
// a cause (rule 12) and for errors of sends that do not tell their outcome
// (rule 10). A call that does not return, or that panics, is a failure like
// others and ends only its check.
//
// Optional interfaces are used where the layer has them. Checks of those that
// it lacks are skipped, and say so.
//
// # The clock
//
// Many rules are about time. A layer wholly in memory runs in [Synctest], where
// an hour passes at once. Any other runs in [RealTime], the default: checks
// wait in earnest then, for expiries of some multiples of Backend.Unit, and run
// in parallel, as many at a time as the flag -parallel says; most of their time
// is waiting, so that 16 suits two cores. A broker that is slow, or whose clock
// is coarse, wants a longer Unit. A [Clock] of your own lets time pass at a
// server that can be told to.
//
// # Declaring exceptions
//
// A backend that cannot keep a rule says so, with the reason:
//
//	Declared: []layertest.Exception{{
//		Check:  "Rule06Expiry/abandoned*",
//		Reason: "the protocol does not tell the sender that nobody reads",
//	}},
//
// The check is skipped, which prints the reason. An exception that names no
// check is an error, so that the list stays true.
//
// # Seeds and reproducing
//
// Random checks draw all choices from one seed, which a failure prints. Setting
// Backend.Seed to it repeats the choices; what goroutines make of them may
// still differ. The model check runs in one goroutine, shrinks what failed to
// few steps and prints them.
//
// # Benchmarks
//
// [Benchmark] measures any backend on the same work: one channel, 64 senders,
// groups of 1 to 10,000 members, and 1,000 groups at once, in one process and,
// where there is a Peer, between two.
//
// # Testing your application
//
// An application that uses a layer is tested with memlayer in its place.
// [Expect] and [ExpectNone] say what should arrive:
//
//	bus, _ := memlayer.New(memlayer.Options{})
//	...
//	msg := layertest.Expect(t, bus, channel, time.Second)
//	layertest.ExpectNone(t, bus, other, 100*time.Millisecond)
package layertest
