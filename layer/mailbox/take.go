package mailbox

import (
	"time"

	"github.com/channellayer/channellayer/layer"
)

// Take takes the oldest unread message of the channel, if there is one, and
// how long ago it was accepted: for a backend that passes it on to a receiver
// in another process, where [Set.PutAged] lets it expire at its time. It never
// blocks. It is not a receiver: it does not count as asking, nor its message as
// received ([Stats].Taken).
func (s *Set) Take(channel string) (msg layer.Message, age time.Duration, ok bool) {
	sh, hash := s.shard(channel)
	sh.mu.Lock()
	q := sh.queues.get(hash, channel)
	if q == nil || q.length == 0 {
		sh.mu.Unlock()
		return layer.Message{}, 0, false
	}
	now := s.now()
	cutoff := now - int64(s.expiry)
	n := sh.expireLocked(q, cutoff)
	for !ok && !n.abandoned && q.length > 0 {
		e := q.pop()
		if ok = e.acceptedAt > cutoff; !ok { // it came with an age, behind a younger one
			n.expired++
			sh.expired++
			continue
		}
		msg, age = e.msg, time.Duration(now-e.acceptedAt)
		sh.taken++
		if q.length == 0 { // none is left that could expire unasked for
			q.quietSince = never
		}
	}
	sh.mu.Unlock()
	s.tell(n)
	return msg, age, ok
}

// Return puts back what [Set.Take] took and could not be passed on: in front of
// all others, also where the channel has become full meanwhile, since it had a
// place there before. age is how long ago the message was accepted by now. A
// receiver that waits gets it at once; what others received meanwhile, they had
// before it. In all else Return does what [Set.PutAged] does, with the same errors
// but for [layer.ErrChannelFull].
func (s *Set) Return(channel string, msg layer.Message, age time.Duration) error {
	now := s.now()
	sh, hash := s.shard(channel)
	sh.mu.Lock()
	q := sh.queues.get(hash, channel)
	if q == nil {
		var err error
		if q, err = s.missLocked(sh, hash, channel); err != nil {
			sh.mu.Unlock()
			return layer.NotSent(err)
		}
	}
	switch {
	case age >= s.expiry:
		return s.putExpired(sh, q)
	case q.first != nil:
		s.handOver(sh, q, msg)
		return nil
	}
	n := sh.expireLocked(q, now-int64(s.expiry))
	if n.abandoned {
		sh.mu.Unlock()
		s.tell(n)
		return layer.ErrChannelGone
	}
	q.pushFront(msg, now-int64(max(age, 0)))
	s.queued(sh, q, now)
	s.tell(n)
	return nil
}
