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
