package mailbox

import (
	"iter"

	"github.com/channellayer/channellayer/layer"
)

// Notify gives a process-specific channel a message that must not be lost for
// want of room, and of which one is enough however many times there was a
// reason: that messages may have been lost, so that the reader should look at
// the state of things anew. It goes to the receiver that has waited longest, or
// to the end of the queue, where one place beyond the capacity is kept for it.
// If an earlier notice is still unread, Notify does nothing: that one stays
// where it is, even if this one is another message. In all else a notice is a
// message like any other: it keeps its place in the order, expires, and counts.
//
// Notify never blocks. It reports whether the channel has the notice, or has
// an unread one: false for a channel that is not open, and for a normal one.
func (s *Set) Notify(channel string, notice layer.Message) bool {
	sh, hash := s.shard(channel)
	sh.mu.Lock()
	q := sh.queues.get(hash, channel)
	if q == nil || !q.specific {
		sh.mu.Unlock()
		return false
	}
	if q.first != nil {
		s.handOver(sh, q, notice)
		return true
	}
	now := s.now()
	n := sh.expireLocked(q, now-int64(s.expiry))
	if n.abandoned || q.noticeAt > 0 {
		sh.mu.Unlock()
	} else {
		q.noticeAt = q.length + 1
		s.enqueue(sh, q, notice, now, now)
	}
	s.tell(n)
	return !n.abandoned
}

// Channels walks over the process-specific channels that are open, in no
// order. One that is open from before the loop begins until it ends is visited
// exactly once; one that is opened or released meanwhile may be visited or not,
// but not twice.
//
// No lock is held while the loop body runs; it may call any method, may take
// its time and may break out. The names of a 128th of the channels are copied
// at a time.
func (s *Set) Channels() iter.Seq[string] {
	return func(yield func(channel string) bool) {
		for i := range s.shards {
			for _, name := range s.shards[i].open() {
				if !yield(name) {
					return
				}
			}
		}
	}
}

// open returns the names of the shard's process-specific channels.
func (sh *shard) open() []string {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	names := make([]string, 0, sh.queues.count)
	for q := range sh.queues.all() {
		if q.specific {
			names = append(names, q.name)
		}
	}
	return names
}
