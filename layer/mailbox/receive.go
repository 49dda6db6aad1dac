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
	_, err := s.ReceiveBatch(ctx, channel, buf[:])
	return buf[0], err
}

// ReceiveBatch waits as Receive does until there is a message, then moves as
// many as there are, up to len(buf), into buf, oldest first, and returns their
// number. The caller owns buf before and after. An empty buf returns 0 at
// once. On an error nothing was taken. The errors are those of Receive.
func (s *Set) ReceiveBatch(ctx context.Context, channel string, buf []layer.Message) (int, error) {
	if err := ctx.Err(); err != nil || len(buf) == 0 {
		return 0, err
	}
	sh, hash := s.shard(channel)
	sh.mu.Lock()
	q := sh.queues.get(hash, channel)
	if q == nil {
		var err error
		if q, err = s.missLocked(sh, hash, channel); err != nil {
			sh.mu.Unlock()
			return 0, err
		}
	}
	var n news
	if q.length > 0 || q.quietSince != never {
		cutoff := s.now() - int64(s.expiry)
		if q.stale(cutoff) {
			n = sh.expireLocked(q, cutoff)
		}
		if n.abandoned {
			sh.mu.Unlock()
			s.tell(n)
			return 0, layer.ErrChannelGone
		}
		taken, expired := sh.takeLocked(q, buf, cutoff)
		n.expired += expired
		if taken > 0 {
			sh.mu.Unlock()
			s.tellDropped(layer.DropExpired, channel, n.expired)
			return taken, nil
		}
	}
	q.quietSince = never
	w := s.waiters.Get().(*waiter)
	q.addWaiter(w)
	sh.mu.Unlock()
	s.tellDropped(layer.DropExpired, channel, n.expired)

	msg, err := s.wait(ctx, sh, q, w)
	if err != nil {
		return 0, err
	}
	buf[0] = msg
	if len(buf) == 1 {
		return 1, nil
	}
	return 1 + s.takeMore(sh, q, buf[1:]), nil
}

// takeMore takes what came while the receiver was waking up. If receivers had
// been waiting behind it, they would have been handed it.
func (s *Set) takeMore(sh *shard, q *queue, buf []layer.Message) int {
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
	ready chan struct{} // has room for the one signal: sending never blocks

	// The result, set before the signal is sent.
	msg layer.Message
	err error

	// Guarded by the shard's mutex.
	queued     bool
	prev, next *waiter
}

func newWaiter() any { return &waiter{ready: make(chan struct{}, 1)} }

func (w *waiter) signal() { w.ready <- struct{}{} }

// signalAll signals a chain of waiters. The link is read first: a waiter that
// was signalled may already serve another receiver.
func signalAll(w *waiter) {
	for w != nil {
		next := w.next
		w.next, w.prev = nil, nil
		w.signal()
		w = next
	}
}

// wait waits until w has its result or ctx ends. A result that comes together
// with ctx's end is returned, so that it is not lost.
func (s *Set) wait(ctx context.Context, sh *shard, q *queue, w *waiter) (layer.Message, error) {
	if done := ctx.Done(); done == nil {
		<-w.ready // a receive alone costs half as much as a select
	} else {
		select {
		case <-w.ready:
		case <-done:
			if s.withdraw(sh, q, w) {
				s.waiters.Put(w)
				return layer.Message{}, ctx.Err()
			}
			<-w.ready // it was taken off the queue: the signal is on its way
		}
	}
	msg, err := w.msg, w.err
	w.msg, w.err = layer.Message{}, nil
	s.waiters.Put(w)
	return msg, err
}

// withdraw takes w off its queue, unless somebody else has done so.
func (s *Set) withdraw(sh *shard, q *queue, w *waiter) bool {
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
