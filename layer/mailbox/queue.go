package mailbox

import (
	"math"

	"github.com/channellayer/channellayer/layer"
)

// queue is one channel: its unread messages or its waiting receivers. It never
// has both. All fields are guarded by the shard's mutex.
//
// A million idle channels are a million of these: the fields fit the allocator's
// 96-byte class, those that every message changes come first and together.
type queue struct {
	ring     []entry // nil while the channel is idle
	head     int32   // index of the oldest message
	length   int32   // unread messages
	capacity int32
	waiting  int32   // waiters in the list from first to last
	first    *waiter // the receiver that has waited longest

	// quietSince is when a message was put for the first time since anybody
	// called Receive, or never.
	quietSince int64

	activity activity
	shard    uint8 // index of the shard it is in
	specific bool  // it is process-specific
	gone     bool  // it left the shard's table and only the active list may still know it

	// noticeAt is how many messages leave the queue up to and with the notice,
	// or 0 if none is unread. A count of places needs no room in the entries,
	// and does not mistake an equal message for the notice.
	noticeAt int32

	last *waiter
	next *queue // in the active list
	name string
}

// activity is what the sweeper knows of a queue.
type activity uint8

const (
	idle   activity = iota // the queue is not in the shard's active list
	quiet                  // it is, and was not used since the sweeper last saw it
	active                 // it is, and was used
)

// entry is an unread message and when the layer accepted it.
type entry struct {
	msg        layer.Message
	acceptedAt int64
}

// never is later than any time on the Set's clock.
const never = math.MaxInt64

// firstRing is the size of the ring that a queue starts with. It doubles up to
// the capacity and the place for a notice.
const firstRing = 4

func (q *queue) push(msg layer.Message, acceptedAt int64) {
	if int(q.length) == len(q.ring) {
		q.grow()
	}
	q.ring[q.index(q.length)] = entry{msg, acceptedAt}
	q.length++
}

// pushFront puts a message in front of the oldest.
func (q *queue) pushFront(msg layer.Message, acceptedAt int64) {
	if int(q.length) == len(q.ring) {
		q.grow()
	}
	if q.head--; q.head < 0 {
		q.head = int32(len(q.ring)) - 1
	}
	q.ring[q.head] = entry{msg, acceptedAt}
	q.length++
	if q.noticeAt > 0 {
		q.noticeAt++
	}
}

func (q *queue) grow() {
	size := max(firstRing, 2*len(q.ring))
	// What was returned may be more than the capacity.
	ring := make([]entry, max(min(size, int(q.capacity)+1), int(q.length)+1))
	n := copy(ring, q.ring[q.head:])
	copy(ring[n:], q.ring[:q.head])
	q.ring, q.head = ring, 0
}

// full reports whether a message would find no room. An unread notice takes
// none of it.
func (q *queue) full() bool {
	if q.noticeAt > 0 {
		return q.length > q.capacity
	}
	return q.length >= q.capacity
}

// pop removes the oldest message. Its place is zeroed, so that the ring does
// not keep the message alive.
func (q *queue) pop() entry {
	slot := &q.ring[q.head]
	e := *slot
	*slot = entry{}
	q.head = q.index(1)
	q.length--
	if q.noticeAt > 0 {
		q.noticeAt--
	}
	return e
}

// index returns where in the ring the i-th message is. A message more than
// the ring holds stands where the first one does.
func (q *queue) index(i int32) int32 {
	i += q.head
	if size := int32(len(q.ring)); i >= size {
		i -= size
	}
	return i
}

// take moves messages accepted after cutoff into buf and drops the older ones
// that it meets, until buf is full or the queue is empty.
func (q *queue) take(buf []layer.Message, cutoff int64) (taken, expired int) {
	for taken < len(buf) && q.length > 0 {
		if e := q.pop(); e.acceptedAt > cutoff {
			buf[taken] = e.msg
			taken++
		} else {
			expired++
		}
	}
	return taken, expired
}

// headExpired reports whether the oldest message was accepted at cutoff or
// earlier.
func (q *queue) headExpired(cutoff int64) bool {
	return q.length > 0 && q.ring[q.head].acceptedAt <= cutoff
}

// dropExpired drops the messages at the head that were accepted at cutoff or
// earlier.
func (q *queue) dropExpired(cutoff int64) (expired int) {
	for q.headExpired(cutoff) {
		q.pop()
		expired++
	}
	return expired
}

// abandoned reports whether nobody has called Receive since cutoff or earlier,
// although there was a message: that one has expired by now, whatever its age
// was when it came.
func (q *queue) abandoned(cutoff int64) bool {
	return q.specific && q.quietSince <= cutoff
}

// stale reports whether there is something to expire.
func (q *queue) stale(cutoff int64) bool {
	return q.headExpired(cutoff) || q.abandoned(cutoff)
}

// empty forgets all unread messages, gives the ring back, and returns how many
// messages there were.
func (q *queue) empty() int {
	n := int(q.length)
	q.ring, q.head, q.length, q.noticeAt = nil, 0, 0, 0
	q.quietSince = never
	return n
}

func (q *queue) addWaiter(w *waiter) {
	w.queue, w.queued = q, true
	w.prev = q.last
	if q.last == nil {
		q.first = w
	} else {
		q.last.next = w
	}
	q.last = w
	q.waiting++
}

func (q *queue) removeWaiter(w *waiter) {
	if w.prev == nil {
		q.first = w.next
	} else {
		w.prev.next = w.next
	}
	if w.next == nil {
		q.last = w.prev
	} else {
		w.next.prev = w.prev
	}
	w.prev, w.next, w.queued = nil, nil, false
	q.waiting--
}

// endWaiters takes all waiters off the queue with err as their result. The
// caller passes the chain to endAll once it has unlocked.
func (q *queue) endWaiters(err error) *waiter {
	chain := q.first
	for w := chain; w != nil; w = w.next {
		w.err = err
		w.queued = false
	}
	q.first, q.last, q.waiting = nil, nil, 0
	return chain
}
