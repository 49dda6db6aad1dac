package layertest

import (
	"fmt"
	"sync"
	"time"

	"github.com/channellayer/channellayer/layer"
)

// events records what a layer tells its observer.
type events struct {
	mu        sync.Mutex
	drops     layer.Drops
	named     map[drop]int
	gaps      []string
	abandoned []string
	bad       []string // calls that make no sense
	hook      func()   // called, without the lock, on every event
}

type drop struct {
	reason layer.DropReason
	name   string
}

func newEvents() *events { return &events{named: map[drop]int{}} }

func (e *events) observer() layer.Observer {
	return layer.Observer{
		Dropped: func(reason layer.DropReason, name string, count int) {
			e.record(func() {
				if int(reason) >= len(e.drops) || count < 1 {
					e.bad = append(e.bad, fmt.Sprintf("Dropped(%v, %q, %d)", reason, name, count))
					return
				}
				e.drops[reason] += uint64(count)
				e.named[drop{reason, name}] += count
			})
		},
		Gap: func(from, to time.Time, reason string) {
			e.record(func() { e.gaps = append(e.gaps, fmt.Sprintf("Gap(%v, %v, %q)", from, to, reason)) })
		},
		Abandoned: func(channel string) {
			e.record(func() { e.abandoned = append(e.abandoned, channel) })
		},
	}
}

func (e *events) record(what func()) {
	e.mu.Lock()
	what()
	hook := e.hook
	e.mu.Unlock()
	if hook != nil {
		hook()
	}
}

// onEvent has f called on every event from now on.
func (e *events) onEvent(f func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.hook = f
}

// dropped returns how many messages were given up, by reason.
func (e *events) dropped() layer.Drops {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.drops
}

// droppedOn returns how many messages for the channel were given up.
func (e *events) droppedOn(reason layer.DropReason, channel string) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.named[drop{reason, channel}]
}

// abandonedTimes returns how often the channel was reported abandoned.
func (e *events) abandonedTimes(channel string) (n int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, name := range e.abandoned {
		if name == channel {
			n++
		}
	}
	return n
}

// gapsSeen returns the gaps that were reported.
func (e *events) gapsSeen() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.gaps
}

func (e *events) badCalls() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.bad
}
