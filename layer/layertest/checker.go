package layertest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/channellayer/channellayer/layer"
)

// check is one thing to find out about a layer.
type check struct {
	Rule  int    // of the contract; 0 for several
	Name  string // "Rule02FIFO/send_only"
	Doc   string // what it shows, for the list and beside a failure
	Peer  bool   // it needs a second process
	Both  bool   // it exists twice: alone, and with a peer as the writer
	Heavy bool   // it keeps all cores busy for a second or more
	Run   func(c *checker)
}

// checker runs one check: it makes layers, guards the calls into them, and
// records failures. Its methods may be called from several goroutines.
type checker struct {
	backend Backend
	check   check
	label   string // marks the goroutines of the layers under test
	unit    time.Duration
	seed    uint64

	// Set by run, in the bubble if there is one.
	t   *testing.T
	ctx context.Context // ends when the check does
	end context.CancelFunc

	helpers sync.Map // chan struct{} of each goroutine of the check, to its name

	mu     sync.Mutex
	res    result
	procs  []*proc
	calls  map[int]string // under way
	nextID int
	stop   bool // a failure ended the check
	hung   bool // a call did not return: its goroutine is no leak
}

// Limits of time. They are generous: nothing waits for them but failures.
const (
	callLimit   = 15 * time.Second // for any call to return
	arriveLimit = 10 * time.Second // for a message to arrive
	maxFailures = 8                // that are kept of one check
)

// promptLimit is how long "promptly" may take on a busy machine.
func (c *checker) promptLimit() time.Duration { return 15 * c.unit }

func newChecker(backend Backend, ck check) *checker {
	c := &checker{
		backend: backend,
		check:   ck,
		label:   fmt.Sprintf("%s %x", ck.Name, rand.Uint64()),
		unit:    backend.Unit,
		seed:    backend.Seed,
		calls:   map[int]string{},
	}
	if c.seed == 0 {
		c.seed = rand.Uint64()
	}
	return c
}

// run runs the check to its end: it closes the layers, and waits for the
// check's goroutines.
func (c *checker) run(t *testing.T) {
	c.t = t
	c.ctx, c.end = context.WithCancel(context.Background())
	defer c.end()
	<-c.inside(func() { c.check.Run(c) })
	for _, p := range c.all() {
		p.finish()
	}
	c.end()
	c.await()
}

// inside runs f in a goroutine in which fatalf and skipf work, and panics are
// failures. The returned channel is closed at its end.
func (c *checker) inside(f func()) (done chan struct{}) {
	done = make(chan struct{})
	go func() {
		defer close(done)
		defer func() {
			if p := recover(); p != nil {
				c.errorf("panic: %v\n%s", p, debug.Stack())
				c.halt()
			}
		}()
		f()
	}()
	return done
}

// goroutine runs f in a goroutine of the check. Calls into the layer need no
// guard there: wait and await are one for all of them.
func (c *checker) goroutine(name string, f func()) (done chan struct{}) {
	done = c.inside(func() {
		pprof.Do(context.Background(), pprof.Labels(labelKey, c.label), func(context.Context) { f() })
	})
	c.helpers.Store(done, name)
	return done
}

// wait waits until a goroutine of the check is done, or ends the check if it
// is not after the limit.
func (c *checker) wait(done chan struct{}, limit time.Duration) {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
		name, ok := c.helpers.Load(done)
		if !ok {
			name = "what the check waits for"
		}
		c.setHung()
		c.fatalf("%v did not end within %v\n%s", name, limit, c.labelled())
	}
	if c.stopped() {
		runtime.Goexit()
	}
}

// await waits for the goroutines that the check left behind. The layers are
// closed, so that each must end.
func (c *checker) await() {
	timer := time.NewTimer(callLimit)
	defer timer.Stop()
	c.helpers.Range(func(done, name any) bool {
		select {
		case <-done.(chan struct{}):
			return true
		case <-timer.C:
			c.setHung()
			c.add(failure{11, fmt.Sprintf("%v after Close: %v is still inside the layer\n%s", callLimit, name, c.labelled())})
			return false
		}
	})
}

// guard runs a call into the layer in a goroutine of its own, and ends the
// check if the call does not return within the limit, or panics.
func (c *checker) guard(limit time.Duration, what string, call func()) {
	id := c.begin(what)
	defer c.finish(id)
	done := make(chan struct{})
	var panicked string
	go func() {
		defer close(done)
		defer func() {
			if p := recover(); p != nil {
				panicked = fmt.Sprintf("%v\n%s", p, debug.Stack())
			}
		}()
		pprof.Do(context.Background(), pprof.Labels(labelKey, c.label), func(context.Context) { call() })
	}()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
		c.setHung()
		c.fatalf("%s did not return within %v\n%s", what, limit, c.labelled())
	}
	if panicked != "" {
		c.fatalf("%s panicked: %s", what, panicked)
	}
}

func (c *checker) begin(what string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.nextID++
	c.calls[c.nextID] = what
	return c.nextID
}

func (c *checker) finish(id int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.calls, id)
}

func (c *checker) underWay() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	names := []string{}
	for _, what := range c.calls {
		names = append(names, what)
	}
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

// errorf records a failure of the check's own rule.
func (c *checker) errorf(format string, args ...any) {
	c.add(failure{c.check.Rule, fmt.Sprintf(format, args...)})
}

// brokenf records a failure of another rule.
func (c *checker) brokenf(rule int, format string, args ...any) {
	c.add(failure{rule, fmt.Sprintf(format, args...)})
}

// fatalf records a failure and ends the check, or the goroutine of it.
func (c *checker) fatalf(format string, args ...any) {
	c.errorf(format, args...)
	c.halt()
	runtime.Goexit()
}

// skipf ends a check that does not apply to the layer.
func (c *checker) skipf(format string, args ...any) {
	c.mu.Lock()
	c.res.skipped = fmt.Sprintf(format, args...)
	c.stop = true
	c.mu.Unlock()
	c.end()
	runtime.Goexit()
}

// notef says something beside the verdict.
func (c *checker) notef(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.res.notes = append(c.res.notes, fmt.Sprintf(format, args...))
}

func (c *checker) add(f failure) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.res.failures) < maxFailures {
		c.res.failures = append(c.res.failures, f)
	}
}

// halt lets the rest of the check end soon.
func (c *checker) halt() {
	c.abandon()
	c.end()
}

// abandon stops what looks whether the check was stopped. It may be called from
// outside a bubble, where the check's ctx must not be touched.
func (c *checker) abandon() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stop = true
}

func (c *checker) stopped() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stop
}

func (c *checker) setHung() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.hung = true
}

func (c *checker) result() result {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.res.seed = c.seed
	return c.res
}

// random returns numbers that depend on nothing but the seed.
func (c *checker) random() *rand.Rand {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.res.random = true
	return rand.New(rand.NewPCG(c.seed, 0))
}

// sleep lets n units of time pass.
func (c *checker) sleep(units float64) {
	c.backend.Clock.Sleep(time.Duration(units * float64(c.unit)))
}

// settle gives goroutines time to reach the calls in which they wait. In a
// bubble that is certain; in real time it is very likely, and a check must not
// fail a good layer when it was too short.
func (c *checker) settle() {
	if c.backend.Clock.Virtual {
		time.Sleep(time.Microsecond)
		return
	}
	time.Sleep(c.unit / 2)
}

// eventually waits until the condition holds, and reports whether it ever did.
func (c *checker) eventually(condition func() bool) bool {
	for range 100 {
		if condition() {
			return true
		}
		c.sleep(0.5)
	}
	return condition()
}

func (c *checker) all() []*proc {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.procs
}

// start makes a layer on a new bus.
func (c *checker) start(limits layer.Limits) *proc {
	return c.startProc(limits, func(config Config) layer.Layer { return c.backend.New(c.t, config) })
}

// startPeer makes a layer on the bus of another.
func (c *checker) startPeer(first *proc, limits layer.Limits) *proc {
	return c.startProc(limits, func(config Config) layer.Layer { return c.backend.Peer(c.t, config, first.layer) })
}

// pair makes the layer on which a check reads and the one on which it writes:
// the same one, except in the variant of the check that needs a peer.
func (c *checker) pair(limits layer.Limits) (reader, writer *proc) {
	reader = c.start(limits)
	if !c.check.Peer {
		return reader, reader
	}
	return reader, c.startPeer(reader, limits)
}

func (c *checker) startProc(limits layer.Limits, build func(Config) layer.Layer) *proc {
	p := &proc{c: c, seen: newEvents()}
	pprof.Do(context.Background(), pprof.Labels(labelKey, c.label), func(context.Context) {
		p.layer = build(Config{Limits: limits, Observer: p.seen.observer()})
	})
	if p.layer == nil {
		c.fatalf("Backend made no layer")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.procs = append(c.procs, p)
	return p
}
