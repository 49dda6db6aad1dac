package mailbox

import (
	"time"

	"github.com/channellayer/channellayer/layer"
)

// Put appends msg to the channel, or hands it to the receiver that has waited
// longest. It never blocks.
//
// Errors, each of which means that the message was not taken and all of which
// match [layer.ErrNotSent]: [layer.ErrChannelFull] if the channel holds as many
// unread messages as its capacity allows, which the Set does not count as a
// drop; [layer.ErrChannelGone] for a process-specific channel that is not open;
// [layer.ErrInvalidName]; [layer.ErrClosed]. Put does not check msg.
func (s *Set) Put(channel string, msg layer.Message) error {
	return s.PutAged(channel, msg, 0)
}

// PutAged is Put for a message that a broker accepted age ago: it expires that
// much earlier. One that has expired already is counted and dropped, and
// PutAged returns nil. A negative age stands for 0.
func (s *Set) PutAged(channel string, msg layer.Message, age time.Duration) error {
	f := s.Fan(msg, age)
	f.at = s.now() // before the lock: it takes longer than what is done under it
	return f.putByName(channel)
}

// HandOver gives msg to the receiver that has waited longest on the channel,
// and reports false, having done nothing, if none waits. It is for a message
// that a backend took from its broker for a receiver that has gone away since:
// if nobody else waits, the backend gives it back. It never blocks.
func (s *Set) HandOver(channel string, msg layer.Message) bool {
	sh, hash := s.shard(channel)
	sh.mu.Lock()
	q := sh.queues.get(hash, channel)
	if q == nil || q.first == nil {
		sh.mu.Unlock()
		return false
	}
	s.handOver(sh, q, msg)
	return true
}

// handOver gives msg to the first waiter. It unlocks the shard.
func (s *Set) handOver(sh *shard, q *queue, msg layer.Message) {
	w := q.first
	q.removeWaiter(w)
	w.msg = msg
	sh.accepted++
	sh.received++
	wake := !q.specific && sh.activateLocked(q)
	sh.mu.Unlock()
	w.signal()
	if wake {
		s.wakeSweeper()
	}
}

// enqueue queues msg, for which there is room. It unlocks the shard.
func (s *Set) enqueue(sh *shard, q *queue, msg layer.Message, now, acceptedAt int64) {
	q.push(msg, acceptedAt)
	q.quietSince = min(q.quietSince, now)
	sh.accepted++
	wake := sh.activateLocked(q)
	sh.mu.Unlock()
	if wake {
		s.wakeSweeper()
	}
}
