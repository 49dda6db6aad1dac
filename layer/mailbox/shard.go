package mailbox

import (
	"hash/maphash"
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
	queues map[string]*queue // nil once the Set is closed
	active *queue            // the queues that the sweeper is to visit

	// The counters are kept here, under the lock that is held anyway, so that
	// counting moves no other cache line from core to core.
	accepted, received, expired, dropped, abandoned uint64

	peak   int // the most queues since the map was last built
	closed bool

	_ [48]byte // keeps two shards off one pair of cache lines
}

func (s *Set) shard(channel string) *shard {
	return &s.shards[maphash.String(s.seed, channel)%numShards]
}

// addLocked makes the queue of a channel that has none.
func (s *Set) addLocked(sh *shard, channel string) *queue {
	q := &queue{
		name:       channel,
		capacity:   int32(min(s.limits.CapacityFor(channel), maxCapacity)),
		specific:   layer.IsProcessSpecific(channel),
		quietSince: never,
	}
	sh.queues[channel] = q
	sh.peak = max(sh.peak, len(sh.queues))
	return q
}

// missLocked is what Put and Receive do about a channel without a queue. A
// normal one gets its queue. Names are checked only here, where a name that has
// a queue never comes: a valid one was checked when it got it.
func (s *Set) missLocked(sh *shard, channel string) (*queue, error) {
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
	return s.addLocked(sh, strings.Clone(channel)), nil
}

// removeLocked takes the queue out of the map. The active list forgets it when
// the sweeper comes by.
func (sh *shard) removeLocked(q *queue) {
	q.gone = true
	delete(sh.queues, q.name)
	// Maps of Go do not shrink. Rebuilding one after three quarters of it are
	// gone costs less than half an insertion for each that was deleted.
	if sh.peak > smallMap && len(sh.queues) < sh.peak/4 {
		queues := make(map[string]*queue, len(sh.queues))
		for name, q := range sh.queues {
			queues[name] = q
		}
		sh.queues, sh.peak = queues, len(queues)
	}
}

// smallMap is the size up to which a map is not worth rebuilding.
const smallMap = 32

// maxCapacity bounds the capacity to what a queue can count, with a notice.
const maxCapacity = 1<<31 - 2

// activateLocked makes the sweeper visit the queue. It reports whether the
// sweeper must be woken for that, which is done after unlocking.
func (sh *shard) activateLocked(q *queue) (wake bool) {
	q.touched = true
	if q.listed {
		return false
	}
	q.listed = true
	q.next = sh.active
	sh.active = q
	return true
}

// expireLocked drops the expired messages at the head of the queue, or
// abandons the channel. Messages are queued in order of arrival; one that came
// with an age behind a younger one is dropped when that one is gone.
func (sh *shard) expireLocked(q *queue, cutoff int64) news {
	n := news{channel: q.name}
	n.expired, n.abandoned = q.dropExpired(cutoff)
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
