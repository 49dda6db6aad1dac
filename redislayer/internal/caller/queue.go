package caller

import (
	"runtime"
	"slices"
	"sync"
)

// Place is where a piece of work stands. What is to be queued has one embedded.
type Place struct{ stands byte }

const (
	nowhere byte = iota
	queued
	withdrawn
)

func (p *Place) place() *Place { return p }

// Queue is work that waits for whoever takes it, oldest first. Its methods are
// called under a lock of its owner's. The zero value is empty.
type Queue[T interface{ place() *Place }] struct {
	items []T // also those withdrawn
	left  int // of these
	spare []T // is empty, and serves next
}

// Len is how much waits.
func (q *Queue[T]) Len() int { return len(q.items) - q.left }

// Add queues x, and reports whether that is the first.
func (q *Queue[T]) Add(x T) (first bool) {
	x.place().stands = queued
	q.items = append(q.items, x)
	return q.Len() == 1
}

// Withdraw takes x back, unless it was taken or never queued. It stays in the
// slice until half of that is such: many callers may leave at once.
func (q *Queue[T]) Withdraw(x T) bool {
	if x.place().stands != queued {
		return false
	}
	x.place().stands = withdrawn
	if q.left++; 2*q.left > len(q.items) {
		q.compact()
	}
	return true
}

func (q *Queue[T]) compact() {
	if q.left > 0 {
		q.items = slices.DeleteFunc(q.items, func(x T) bool { return x.place().stands == withdrawn })
		q.left = 0
	}
}

// Take takes what comes first, as long as it fits: fits is told how many were
// taken before.
func (q *Queue[T]) Take(fits func(before int, x T) bool) []T {
	q.compact()
	n := 0
	for n < len(q.items) && fits(n, q.items[n]) {
		q.items[n].place().stands = nowhere
		n++
	}
	taken := q.items[:n:n]
	if q.items = q.items[n:]; n > 0 && len(q.items) == 0 {
		q.items, q.spare = q.spare, nil
	}
	return taken
}

// TakeAll takes all.
func (q *Queue[T]) TakeAll() []T { return q.Take(func(int, T) bool { return true }) }

// Await lets callers run until as many have come as were served last, or no more
// come: those whose calls have just returned may call again at once. Without it
// they fall into two halves that take turns, and a round trip carries half of
// what it could: 29 messages of 64 senders. The lock is the owner's, and is free
// before, between and after.
func (q *Queue[T]) Await(lock sync.Locker, served int) {
	for had := -1; ; {
		lock.Lock()
		n := q.Len()
		lock.Unlock()
		if n >= served && had >= 0 || n == had {
			return
		}
		had = n
		runtime.Gosched()
	}
}

// Reuse takes back what [Queue.Take] returned, and all of which is done, to save
// memory.
func (q *Queue[T]) Reuse(taken []T) {
	clear(taken)
	q.spare = taken[:0]
}
