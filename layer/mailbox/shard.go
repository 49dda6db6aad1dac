package mailbox

import (
	"strings"
	"sync"

	"github.com/channellayer/channellayer/layer"
)

// numShards is a power of two. Channels that share a shard share a lock, which
// is held for some ten nanoseconds at a time.
const numShards = 128

// shard is the channels whose names hash to it.
type shard struct {
	mu     sync.Mutex
	queues table
	active *queue // the queues that the sweeper is to visit

	// The counters are kept here, under the lock that is held anyway, so that
	// counting moves no other cache line from core to core.
	accepted, fanned, received, taken, expired, dropped, abandoned uint64

	closed bool
	index  uint8 // of this shard

	_ [16]byte // keeps two shards off one pair of cache lines
}

// shard returns the shard that the channel belongs to, and its hash.
func (s *Set) shard(channel string) (*shard, uint64) {
	h := hashOf(channel)
	return &s.shards[h%numShards], h
}

// tries is how often lock tries before it waits.
const tries = 8

// lock locks the shard. If another has the lock, lock reads the clock between
// the tries, and returns the last reading, or else 0. The lock is held for about
// as long as that takes; a sync.Mutex first spins for ten times as long, and
// then parks the goroutine, which costs more again.
func (s *Set) lock(sh *shard) (now int64) {
	for range tries {
		if sh.mu.TryLock() {
			return now
		}
		now = s.now()
	}
	sh.mu.Lock()
	return now
}

// addLocked makes the queue of a channel that has none.
func (s *Set) addLocked(sh *shard, hash uint64, channel string) *queue {
	q := &queue{
		name:       channel,
		shard:      sh.index,
		capacity:   int32(min(s.limits.CapacityFor(channel), maxCapacity)),
		specific:   layer.IsProcessSpecific(channel),
		quietSince: never,
	}
	sh.queues.add(hash, q)
	return q
}

// missLocked is what Put and Receive do about a channel without a queue. A
// normal one gets its queue. Names are checked only here, where a name that has
// a queue never comes: a valid one was checked when it got it.
func (s *Set) missLocked(sh *shard, hash uint64, channel string) (*queue, error) {
	if sh.closed {
		return nil, layer.ErrClosed
	}
	if err := layer.ValidateChannel(channel); err != nil {
		return nil, err
	}
	if layer.IsProcessSpecific(channel) {
		return nil, layer.ErrChannelGone
	}
	// The name may be a piece of something larger that must not live on with it.
	return s.addLocked(sh, hash, strings.Clone(channel)), nil
}

// removeLocked takes the queue out of the table. The active list forgets it
// when the sweeper comes by.
func (sh *shard) removeLocked(q *queue) {
	q.gone = true
	sh.queues.remove(hashOf(q.name), q)
}

// maxCapacity bounds the capacity to what a queue can count, with a notice.
const maxCapacity = 1<<31 - 2

// activateLocked makes the sweeper visit the queue. It reports whether the
// sweeper must be woken for that, which is done after unlocking.
func (sh *shard) activateLocked(q *queue) (wake bool) {
	known := q.activity != idle
	q.activity = active
	if known {
		return false
	}
	q.next = sh.active
	sh.active = q
	return true
}

// expireLocked drops the expired messages at the head of the queue, or
// abandons the channel. Messages are queued in order of arrival; one that came
// with an age behind a younger one is dropped when that one is gone.
func (sh *shard) expireLocked(q *queue, cutoff int64) news {
	n := news{channel: q.name}
	n.expired, n.abandoned = q.dropExpired(cutoff), q.abandoned(cutoff)
	if n.abandoned {
		n.expired += q.empty()
		sh.abandoned++
		sh.removeLocked(q)
	}
	sh.expired += uint64(n.expired)
	return n
}

// news is what happened to a channel under the lock and the observer is to be
// told without it.
type news struct {
	channel   string
	expired   int
	abandoned bool
}

func (s *Set) tell(n news) {
	s.tellDropped(layer.DropExpired, n.channel, n.expired)
	if n.abandoned && s.observer.Abandoned != nil {
		s.observer.Abandoned(n.channel)
	}
}

func (s *Set) tellDropped(reason layer.DropReason, channel string, count int) {
	if count > 0 && s.observer.Dropped != nil {
		s.observer.Dropped(reason, channel, count)
	}
}
