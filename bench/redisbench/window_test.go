//go:build unix

package redisbench

import (
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"
)

// window keeps senders from being further ahead of the receivers than their
// mailboxes have room for. It lies in a file that all processes of a fleet map
// into their memory. Numbers never begin again: a round goes on where the last
// one ended.
//
// It counts in one of two ways. Where every member gets every message, messages
// form generations of a fixed size; senders begin one only when every member
// has all of the last but one. So no member is ever more than two generations
// behind, and capacity is two generations. Where each message goes to some of
// the members (fan > 0), senders are at most ahead messages ahead of the number
// delivered in all.
type window struct {
	shared     *sharedPage
	generation uint64 // messages
	members    uint64 // in all processes
	fan        uint64 // members that get a message, or 0 for all
	ahead      uint64

	next atomic.Uint64 // ticket to be drawn
	open atomic.Uint64 // tickets below may send

	mu       sync.Mutex
	sent     uint64 // in all rounds
	stopped  bool
	deadline time.Time
	err      error
}

// sharedPage is what processes share, each word in a cache line of its own.
type sharedPage struct {
	_ [8]uint64
	// done counts members that have all messages of a generation, over all
	// generations with even numbers and all with odd ones.
	done [2]struct {
		atomic.Uint64
		_ [7]uint64
	}
	delivered atomic.Uint64
	_         [7]uint64
}

const pageSize = 4096

// stallTime is after how long without progress a message is taken for lost.
const stallTime = 20 * time.Second

// poll is how often a sender that may not send looks whether it may.
const poll = 20 * time.Microsecond

// windowCommand says which window a worker has.
type windowCommand struct {
	File       string
	Generation int
	Members    int
	Fan        int
	Ahead      int
}

func openWindow(c windowCommand) (*window, error) {
	f, err := os.OpenFile(c.File, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	page, err := syscall.Mmap(int(f.Fd()), 0, pageSize, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	if err != nil {
		return nil, err
	}
	return &window{
		shared:     (*sharedPage)(unsafe.Pointer(&page[0])),
		generation: uint64(c.Generation), members: uint64(c.Members), fan: uint64(c.Fan), ahead: uint64(c.Ahead),
	}, nil
}

// got is called by a member for each message, with its own count of them.
func (w *window) got(count *uint64) {
	if w.fan > 0 {
		w.shared.delivered.Add(1)
		return
	}
	*count++
	if *count%w.generation == 0 {
		w.shared.done[(*count/w.generation-1)&1].Add(1)
	}
}

// begin begins a round: senders may send until the deadline.
func (w *window) begin(deadline time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.deadline, w.stopped = deadline, false
}

// mayBegin waits until one more message may be sent, and reports false when the
// round is over.
func (w *window) mayBegin() bool {
	t := w.next.Add(1) - 1
	return t < w.open.Load() || w.wait(t)
}

func (w *window) wait(ticket uint64) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for began := time.Now(); ticket >= w.open.Load(); {
		now := time.Now()
		switch {
		case w.stopped:
			return false
		case now.After(w.deadline):
			w.stopped = true
			return false
		case now.Sub(began) > stallTime:
			w.failLocked(fmt.Errorf("messages were lost: no progress since %v; %s", stallTime, w.state()))
			return false
		}
		if !w.advanceLocked() {
			time.Sleep(poll) // under the lock: who else wants to send has to wait too
		}
	}
	return true
}

func (w *window) advanceLocked() bool {
	open := w.open.Load()
	if w.fan > 0 {
		limit := w.shared.delivered.Load()/w.fan + w.ahead
		if limit <= open {
			return false
		}
		w.open.Store(limit)
		return true
	}
	if g := open / w.generation; g >= 2 && !w.complete(g-2) {
		return false
	}
	w.open.Store(open + w.generation)
	return true
}

// complete reports whether every member has all of the generation, which is
// one of the last two.
func (w *window) complete(g uint64) bool {
	return w.shared.done[g&1].Load() == w.members*(g/2+1)
}

// end waits, after all senders have returned, until everything was delivered.
// It is told how many messages were sent in the round.
func (w *window) end(n uint64) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return w.err
	}
	w.sent += n
	sent := w.sent
	if w.fan > 0 {
		w.next.Store(sent)
		w.open.Store(sent)
	} else {
		w.next.Store(w.open.Load())
	}
	if sent != w.next.Load() {
		return fmt.Errorf("%d messages were sent where %d had to be", sent, w.next.Load())
	}
	for began := time.Now(); !w.allDelivered(); time.Sleep(poll) {
		if time.Since(began) > stallTime {
			w.failLocked(fmt.Errorf("messages were lost: %d were sent in all; %s", sent, w.state()))
			return w.err
		}
	}
	return nil
}

func (w *window) allDelivered() bool {
	sent := w.next.Load()
	if w.fan > 0 {
		return w.shared.delivered.Load() == sent*w.fan
	}
	g := sent / w.generation
	return (g < 1 || w.complete(g-1)) && (g < 2 || w.complete(g-2))
}

// fail ends the round with an error.
func (w *window) fail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.failLocked(err)
}

func (w *window) failLocked(err error) {
	w.stopped = true
	if w.err == nil {
		w.err = err
	}
}

func (w *window) state() string {
	if w.fan > 0 {
		return fmt.Sprintf("%d deliveries", w.shared.delivered.Load())
	}
	return fmt.Sprintf("of %d members, generations of %d messages were completed %d and %d times", w.members, w.generation,
		w.shared.done[0].Load(), w.shared.done[1].Load())
}
