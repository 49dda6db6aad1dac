package mailbox

import (
	"sync"
	"time"

	"github.com/channellayer/channellayer/layer"
)

// Options configures a [Set]. The zero value means the defaults.
type Options struct {
	// Limits bounds the queues. Capacity, CapacityRules and Expiry are used.
	Limits layer.Limits

	// Observer is told of messages that were dropped because they expired
	// ([layer.DropExpired]) or because their channel was released, cleared or
	// closed ([layer.DropClosed]), and of abandoned channels, after these were
	// removed. Gap is not used. The calls are made without locks, from the
	// goroutine that met the event. They may call the Set, except for Close.
	Observer layer.Observer
}

// Set is the mailboxes of one process, by channel name. Make one with [New].
// All methods may be called concurrently.
type Set struct {
	limits   layer.Limits
	expiry   time.Duration
	observer layer.Observer
	base     time.Time // the Set's clock counts from here
	waiters  sync.Pool // of *waiter; not shared by Sets, which synctest forbids

	wake  chan struct{} // has room for one: there is something to sweep
	stop  chan struct{} // closed by Close
	swept chan struct{} // closed when the sweeper has ended
	once  sync.Once     // for Close

	shards *[numShards]shard // apart, for its alignment
}

// New returns an empty Set. It owns a goroutine, which ends with Close.
//
// Errors: [layer.ErrInvalidOption] for limits out of bounds.
func New(o Options) (*Set, error) {
	limits, err := o.Limits.WithDefaults()
	if err != nil {
		return nil, err
	}
	s := &Set{
		limits:   limits,
		expiry:   limits.Expiry,
		observer: o.Observer,
		base:     time.Now(),
		waiters:  sync.Pool{New: newWaiter},
		wake:     make(chan struct{}, 1),
		stop:     make(chan struct{}),
		swept:    make(chan struct{}),
		shards:   new([numShards]shard),
	}
	for i := range s.shards {
		s.shards[i].index = uint8(i)
	}
	go s.runSweeper()
	return s, nil
}

// now is the time on the Set's monotonic clock.
func (s *Set) now() int64 { return int64(time.Since(s.base)) }

// Open makes a process-specific channel exist until Release, Close, or until
// it is abandoned. Opening one that exists does nothing. The Set keeps the
// string. Normal channels need no Open.
//
// Errors: [layer.ErrInvalidName], also for the name of a normal channel;
// [layer.ErrClosed].
func (s *Set) Open(channel string) error {
	if err := layer.ValidateChannel(channel); err != nil {
		return err
	}
	if !layer.IsProcessSpecific(channel) {
		return &layer.Error{Op: "open", Name: channel, Err: layer.ErrInvalidName}
	}
	sh, hash := s.shard(channel)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if sh.closed {
		return layer.ErrClosed
	}
	if sh.queues.get(hash, channel) == nil {
		s.addLocked(sh, hash, channel)
	}
	return nil
}

// Release ends a process-specific channel: its unread messages are dropped and
// receivers waiting on it return [layer.ErrChannelGone]. It reports whether
// the channel existed. A normal channel is left alone.
func (s *Set) Release(channel string) bool {
	sh, hash := s.shard(channel)
	sh.mu.Lock()
	q := sh.queues.get(hash, channel)
	if q == nil || !q.specific {
		sh.mu.Unlock()
		return false
	}
	dropped := sh.dropLocked(q)
	waiters := q.endWaiters(layer.ErrChannelGone)
	sh.removeLocked(q)
	sh.mu.Unlock()
	endAll(waiters)
	s.tellDropped(layer.DropClosed, channel, dropped)
	return true
}

// Has reports whether the channel exists now: for a process-specific one,
// whether it is open; for a normal one, whether it is in use.
func (s *Set) Has(channel string) bool {
	exists, _, _ := s.look(channel)
	return exists
}

// Len is the number of unread messages on the channel.
func (s *Set) Len(channel string) int {
	_, unread, _ := s.look(channel)
	return unread
}

// Waiting is the number of receivers that wait on the channel: so many
// messages can be put there at once and be received before they expire.
func (s *Set) Waiting(channel string) int {
	_, _, waiting := s.look(channel)
	return waiting
}

func (s *Set) look(channel string) (exists bool, unread, waiting int) {
	sh, hash := s.shard(channel)
	sh.mu.Lock()
	q := sh.queues.get(hash, channel)
	if q == nil {
		sh.mu.Unlock()
		return false, 0, 0
	}
	var event news
	if q.length > 0 || q.quietSince != never {
		event = sh.expireLocked(q, s.now()-int64(s.expiry))
	}
	exists, unread, waiting = !q.gone, int(q.length), int(q.waiting)
	sh.mu.Unlock()
	s.tell(event)
	return exists, unread, waiting
}

// Clear drops every unread message. Channels go on existing, and receivers go
// on waiting. It is not atomic: what is put meanwhile may stay.
func (s *Set) Clear() {
	for i := range s.shards {
		s.dropAll(&s.shards[i], false)
	}
}

// Close drops every unread message, ends every channel, and wakes every
// receiver with [layer.ErrClosed]. When it returns, nothing of the Set is
// running any more. Closing again does nothing.
func (s *Set) Close() {
	s.once.Do(func() {
		for i := range s.shards {
			s.dropAll(&s.shards[i], true)
		}
		close(s.stop)
		<-s.swept
	})
}

// dropAll drops all messages of a shard and, if the Set is to be closed, all
// its queues.
func (s *Set) dropAll(sh *shard, closing bool) {
	type drop struct {
		channel string
		count   int
	}
	var drops []drop
	var waiters []*waiter
	sh.mu.Lock()
	for q := range sh.queues.all() {
		if n := sh.dropLocked(q); n > 0 {
			drops = append(drops, drop{q.name, n})
		}
		if closing {
			q.gone = true
			if w := q.endWaiters(layer.ErrClosed); w != nil {
				waiters = append(waiters, w)
			}
		}
	}
	if closing {
		sh.closed = true
		sh.queues = table{}
	}
	sh.mu.Unlock()
	for _, w := range waiters {
		endAll(w)
	}
	for _, d := range drops {
		s.tellDropped(layer.DropClosed, d.channel, d.count)
	}
}

// dropLocked drops the unread messages of a queue for another reason than age,
// and returns their number.
func (sh *shard) dropLocked(q *queue) int {
	n := q.empty()
	sh.dropped += uint64(n)
	return n
}

// Stats holds a Set's counters since it was made. They only grow. Accepted is
// the sum of Received, Taken, Dropped.Total() and what is unread.
type Stats struct {
	Accepted  uint64 // messages that Put, and what else puts, took
	Fanned    uint64 // of these, the ones that came by a Fan
	Received  uint64 // messages handed to receivers
	Taken     uint64 // messages that Take returned
	Abandoned uint64 // channels given up unread
	Dropped   layer.Drops
}

// Stats returns the counters. It takes each lock once for some nanoseconds, so
// it may be polled.
func (s *Set) Stats() Stats {
	var sum Stats
	for i := range s.shards {
		sh := &s.shards[i]
		sh.mu.Lock()
		sum.Accepted += sh.accepted
		sum.Fanned += sh.fanned
		sum.Received += sh.received
		sum.Taken += sh.taken
		sum.Abandoned += sh.abandoned
		sum.Dropped[layer.DropExpired] += sh.expired
		sum.Dropped[layer.DropClosed] += sh.dropped
		sh.mu.Unlock()
	}
	return sum
}
