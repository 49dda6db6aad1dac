package mailbox

import (
	"context"

	"github.com/channellayer/channellayer/layer"
)

// Receive takes the oldest message of the channel. It waits for one until ctx
// ends, which consumes nothing; a ctx that is already done is reported before
// any message is taken. Waiting receivers are served in order of arrival.
//
// Errors: ctx's error; [layer.ErrChannelGone] for a process-specific channel
// that is not open, or no longer; [layer.ErrInvalidName]; [layer.ErrClosed].
func (s *Set) Receive(ctx context.Context, channel string) (layer.Message, error) {
	var buf [1]layer.Message
	_, w, err := s.takeOrQueue(ctx, channel, buf[:])
	if w == nil {
		return buf[0], err
	}
	return s.wait(ctx, w)
}

// ReceiveBatch waits as Receive does until there is a message, then moves as
// many as there are, up to len(buf), into buf, oldest first, and returns their
// number. The caller owns buf before and after. An empty buf returns 0 at
// once. On an error nothing was taken. The errors are those of Receive.
func (s *Set) ReceiveBatch(ctx context.Context, channel string, buf []layer.Message) (int, error) {
	if len(buf) == 0 {
		return 0, ctx.Err()
	}
	taken, w, err := s.takeOrQueue(ctx, channel, buf)
	if w == nil {
		return taken, err
	}
	q := w.queue
	if buf[0], err = s.wait(ctx, w); err != nil {
		return 0, err
	}
	if len(buf) == 1 {
		return 1, nil
	}
	return 1 + s.takeMore(q, buf[1:]), nil
}

// takeOrQueue takes what is there, or else queues a waiter. It is apart from
// the waiting so that the stack of a waiting receiver is shallow: when it wakes
// up, what it touches of it has to be fetched from memory.
func (s *Set) takeOrQueue(ctx context.Context, channel string, buf []layer.Message) (taken int, w *waiter, err error) {
	if err := ctx.Err(); err != nil {
		return 0, nil, err
	}
	sh, hash := s.shard(channel)
	now := s.lock(sh)
	q := sh.queues.get(hash, channel)
	if q == nil {
		if q, err = s.missLocked(sh, hash, channel); err != nil {
			sh.mu.Unlock()
			return 0, nil, err
		}
	}
	var n news
	if q.length > 0 || q.quietSince != never {
		if now == 0 {
			now = s.now()
		}
		cutoff := now - int64(s.expiry)
		if q.stale(cutoff) {
			n = sh.expireLocked(q, cutoff)
		}
		if n.abandoned {
			sh.mu.Unlock()
			s.tell(n)
			return 0, nil, layer.ErrChannelGone
		}
		taken, expired := sh.takeLocked(q, buf, cutoff)
		n.expired += expired
		if taken > 0 {
			sh.mu.Unlock()
			s.tellDropped(layer.DropExpired, channel, n.expired)
			return taken, nil, nil
		}
	}
	q.quietSince = never
	w = s.waiters.Get().(*waiter)
	q.addWaiter(w)
	sh.mu.Unlock()
	s.tellDropped(layer.DropExpired, channel, n.expired)
	return 0, w, nil
}

// takeMore takes what came while the receiver was waking up. If receivers had
// been waiting behind it, they would have been handed it.
func (s *Set) takeMore(q *queue, buf []layer.Message) int {
	sh := &s.shards[q.shard]
	sh.mu.Lock()
	if q.length == 0 {
		sh.mu.Unlock()
		return 0
	}
	taken, expired := sh.takeLocked(q, buf, s.now()-int64(s.expiry))
	sh.mu.Unlock()
	s.tellDropped(layer.DropExpired, q.name, expired)
	return taken
}

func (sh *shard) takeLocked(q *queue, buf []layer.Message, cutoff int64) (taken, expired int) {
	q.quietSince = never
	taken, expired = q.take(buf, cutoff)
	sh.received += uint64(taken)
	sh.expired += uint64(expired)
	return taken, expired
}

// waiter is a receiver that waits. Waiters are used again, by other receivers,
// so nothing meant for one may reach the next. Whoever takes a waiter off its
// queue under the lock owes it exactly one signal, and sends it after
// unlocking; the receiver takes itself off (and is owed nothing), or takes
// that signal before it lets go of the waiter. So a waiter that is let go has
// no signal in it, and none on the way.
type waiter struct {
	// result has room for the one signal: sending never blocks. It is the
	// message, or the zero Message after err was set.
	result chan layer.Message
	err    error

	queue *queue // that it is in, or was in last

	// Guarded by the shard's mutex.
	queued     bool
	prev, next *waiter
}

func newWaiter() any { return &waiter{result: make(chan layer.Message, 1)} }

// endAll gives a chain of waiters their errors. The link is read first: a waiter
// that has its result may already serve another receiver.
func endAll(w *waiter) {
	for w != nil {
		next := w.next
		w.next, w.prev = nil, nil
		w.result <- layer.Message{}
		w = next
	}
}

// wait waits until w has its result or ctx ends. A result that comes together
// with ctx's end is returned, so that it is not lost.
func (s *Set) wait(ctx context.Context, w *waiter) (msg layer.Message, err error) {
	if done := ctx.Done(); done == nil {
		msg = <-w.result // a receive alone costs half as much as a select
	} else {
		select {
		case msg = <-w.result:
		case <-done:
			if s.withdraw(w) {
				s.waiters.Put(w)
				return layer.Message{}, ctx.Err()
			}
			msg = <-w.result // it was taken off the queue: the signal is on its way
		}
	}
	if msg == (layer.Message{}) {
		err, w.err = w.err, nil
	}
	s.waiters.Put(w)
	return msg, err
}

// withdraw takes w off its queue, unless somebody else has done so.
func (s *Set) withdraw(w *waiter) bool {
	q := w.queue
	sh := &s.shards[q.shard]
	sh.mu.Lock()
	if !w.queued {
		sh.mu.Unlock()
		return false
	}
	q.removeWaiter(w)
	// The queue of a normal channel may have been here for this receiver only.
	wake := !q.specific && sh.activateLocked(q)
	sh.mu.Unlock()
	if wake {
		s.wakeSweeper()
	}
	return true
}
