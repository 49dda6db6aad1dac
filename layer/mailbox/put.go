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
	sh := s.shard(channel)
	sh.mu.Lock()
	q := sh.queues[channel]
	if q == nil {
		var err error
		if q, err = s.missLocked(sh, channel); err != nil {
			sh.mu.Unlock()
			return layer.NotSent(err)
		}
	}
	if age >= s.expiry {
		return s.putExpired(sh, q)
	}
	if w := q.first; w != nil {
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
		return nil
	}

	// Only here is the clock read: it is a good part of what Put costs.
	now := s.now()
	var n news
	if cutoff := now - int64(s.expiry); q.headExpired(cutoff) {
		n = sh.expireLocked(q, cutoff)
	}
	if n.abandoned || q.length >= q.capacity {
		sh.mu.Unlock()
		s.tell(n)
		if n.abandoned {
			return layer.ErrChannelGone
		}
		return layer.ErrChannelFull
	}
	q.push(msg, now-int64(max(age, 0)))
	q.quietSince = min(q.quietSince, now)
	sh.accepted++
	wake := sh.activateLocked(q)
	sh.mu.Unlock()
	if wake {
		s.wakeSweeper()
	}
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
