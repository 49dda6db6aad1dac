//go:build unix

package pythonbench

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"
)

// window keeps senders from being further ahead of the receivers than their
// mailboxes have room for. It lies in a file that the processes of a fleet map
// into their memory. Numbers never begin again: a round goes on where the last
// one ended.
//
// Messages form generations of a fixed size, of which a round has a whole
// number. Every receiving process has one word in the file, which it alone
// writes: Python can do that, but no atomic add. Where every member gets every
// message it says how many generations all the process's members have. Where a
// message goes to some of the members (Fan of them), it says how many messages
// they have received together.
type window struct {
	windowCommand
	words []atomic.Uint64
	// finished counts members that have all of a generation; at most two are
	// under way.
	finished [4]atomic.Uint64

	next   atomic.Uint64 // ticket to be drawn
	opened atomic.Uint64 // tickets below may send

	mu       sync.Mutex
	sent     uint64 // in all rounds that have ended
	stopped  bool
	deadline time.Time
	err      error
}

// windowCommand says which window a worker has.
type windowCommand struct {
	File       string
	Slots      int // receiving processes
	Slot       int // which of them this is
	Generation int
	Ahead      int // how far senders may be ahead, in messages
	Fan        int // members that get a message, or 0 for all
	Members    int // in this process
}

// wordBytes is the size of a cache line, to which each word has its own.
const wordBytes = 64

const wordsPerSlot = wordBytes / 8

// stallTime is after how long without progress a message is taken for lost.
const stallTime = time.Minute

// poll is how often a sender that may not send looks whether it may.
const poll = 50 * time.Microsecond

func openWindow(c windowCommand) (*window, error) {
	f, err := os.OpenFile(c.File, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	page, err := syscall.Mmap(int(f.Fd()), 0, c.Slots*wordBytes, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	if err != nil {
		return nil, err
	}
	words := unsafe.Slice((*atomic.Uint64)(unsafe.Pointer(&page[0])), c.Slots*wordsPerSlot)
	return &window{windowCommand: c, words: words}, nil
}

// got is called by a member with how many messages it has received.
func (w *window) got(count uint64) {
	word := &w.words[w.Slot*wordsPerSlot]
	if w.Fan > 0 {
		word.Add(1)
		return
	}
	if count%uint64(w.Generation) != 0 {
		return
	}
	g := count / uint64(w.Generation)
	finished := &w.finished[g%4]
	if finished.Add(1) == uint64(w.Members) {
		finished.Store(0)
		word.Store(g)
	}
}

// delivered returns how many messages have certainly arrived.
func (w *window) delivered() uint64 {
	sum, least := uint64(0), w.words[0].Load()
	for slot := range w.Slots {
		n := w.words[slot*wordsPerSlot].Load()
		sum += n
		least = min(least, n)
	}
	if w.Fan > 0 {
		return sum / uint64(w.Fan)
	}
	return least * uint64(w.Generation)
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
	ticket := w.next.Add(1) - 1
	return ticket < w.opened.Load() || w.wait(ticket)
}

func (w *window) wait(ticket uint64) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for began := time.Now(); ticket >= w.opened.Load(); {
		now := time.Now()
		if w.stopped || now.After(w.deadline) {
			w.stopped = true
			return false
		}
		next := w.opened.Load() + uint64(w.Generation)
		switch {
		case next <= w.delivered()+uint64(w.Ahead):
			w.opened.Store(next)
		case now.Sub(began) > stallTime:
			w.failLocked(w.lost())
			return false
		default:
			time.Sleep(poll) // under the lock: who else wants to send has to wait too
		}
	}
	return true
}

// end waits, after all senders have returned, until everything was delivered.
// It returns how many messages the round had.
func (w *window) end() (uint64, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return 0, w.err
	}
	opened := w.opened.Load()
	w.next.Store(opened)
	for began := time.Now(); w.delivered() < opened; time.Sleep(poll) {
		if time.Since(began) > stallTime {
			return 0, w.lost()
		}
	}
	n := opened - w.sent
	w.sent = opened
	return n, nil
}

// fail ends the round with an error.
func (w *window) fail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.failLocked(err)
}

func (w *window) failLocked(err error) {
	w.stopped = true
	w.err = errors.Join(w.err, err)
}

func (w *window) lost() error {
	return fmt.Errorf("messages were lost: %d of %d were delivered", w.delivered(), w.opened.Load())
}
