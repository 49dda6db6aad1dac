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
	now := s.now() // before the lock: it takes longer than what is done under it
	sh, hash := s.shard(channel)
	s.lock(sh)
	q := sh.queues.get(hash, channel)
	if q == nil {
		var err error
		if q, err = s.missLocked(sh, hash, channel); err != nil {
			sh.mu.Unlock()
			return layer.NotSent(err)
		}
	}
	return s.put(sh, q, msg, now, age, 0)
}

// put puts msg, which came by that many Fans, on a queue. now may be 0 if
// somebody waits there. It unlocks the shard.
func (s *Set) put(sh *shard, q *queue, msg layer.Message, now int64, age time.Duration, fans uint64) error {
	if age >= s.expiry {
		sh.fanned += fans
		return s.putExpired(sh, q)
	}
	if q.first != nil {
		sh.fanned += fans
		s.handOver(sh, q, msg)
		return nil
	}
	var n news
	cutoff := now - int64(s.expiry)
	if q.stale(cutoff) {
		n = sh.expireLocked(q, cutoff)
	}
	if n.abandoned || q.full() {
		sh.mu.Unlock()
		s.tell(n)
		if n.abandoned {
			return layer.ErrChannelGone
		}
		return layer.ErrChannelFull
	}
	sh.fanned += fans
	s.enqueue(sh, q, msg, now, now-int64(max(age, 0)))
	if n.expired > 0 {
		s.tell(n)
	}
	return nil
}

// putExpired counts a message that was too old when it came. It tells nothing
// about whether anybody receives on the channel. It unlocks the shard.
func (s *Set) putExpired(sh *shard, q *queue) error {
	sh.accepted++
	sh.expired++
	wake := !q.specific && sh.activateLocked(q) // a normal queue may be new
	sh.mu.Unlock()
	if wake {
		s.wakeSweeper()
	}
	s.tellDropped(layer.DropExpired, q.name, 1)
	return nil
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
	sh.accepted++
	sh.received++
	wake := !q.specific && sh.activateLocked(q)
	sh.mu.Unlock()
	w.result <- msg
	if wake {
		s.wakeSweeper()
	}
}

// enqueue queues msg, for which there is room. It unlocks the shard.
func (s *Set) enqueue(sh *shard, q *queue, msg layer.Message, now, acceptedAt int64) {
	q.push(msg, acceptedAt)
	s.queued(sh, q, now)
}

// queued takes note that a message was queued. It unlocks the shard.
func (s *Set) queued(sh *shard, q *queue, now int64) {
	q.quietSince = min(q.quietSince, now)
	sh.accepted++
	wake := sh.activateLocked(q)
	sh.mu.Unlock()
	if wake {
		s.wakeSweeper()
	}
}
