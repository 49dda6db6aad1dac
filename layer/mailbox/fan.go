package mailbox

import (
	"time"

	"github.com/channellayer/channellayer/layer"
)

// Ref remembers where a process-specific channel's mailbox is, so that a [Fan]
// need not find it by its name, which is a good part of what a Put costs. It is
// a hint: whether it is of use or not, the result is the same. The zero Ref
// knows nothing.
//
// A Ref is one word and can be compared and copied. One that is kept after its
// channel was released retains about 100 bytes and the channel's name.
type Ref struct{ q *queue }

// Ref returns what remembers the channel's mailbox: the zero Ref for a channel
// that is not open, or for a normal one, whose mailboxes come and go.
func (s *Set) Ref(channel string) Ref {
	sh, hash := s.shard(channel)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if q := sh.queues.get(hash, channel); q != nil && q.specific {
		return Ref{q}
	}
	return Ref{}
}

// Fan puts one message, or several, on many channels, one channel after another,
// as a group send does. What the channels have in common is done once. Make one
// with [Set.Fan] or [Set.FanAll] for each message or run of messages; it is for
// one goroutine.
type Fan struct {
	set  *Set
	msg  layer.Message
	more []layer.Message // that come behind msg
	age  time.Duration
	at   int64 // when the clock was read, or 0
	puts int   // since then
}

// Fan returns a Fan for a message that a broker accepted age ago, or 0.
func (s *Set) Fan(msg layer.Message, age time.Duration) Fan {
	return Fan{set: s, msg: msg, age: age}
}

// FanAll returns a Fan for messages that came one right after the other, oldest
// first, for the same channels: a receiver that waits is woken once for all of
// them, and finds the rest in its mailbox. age is that of the oldest, and all
// expire with it. There is at least one message; the Fan reads the slice as long
// as it is in use, and [Fan.PutAll] goes with it.
func (s *Set) FanAll(messages []layer.Message, age time.Duration) Fan {
	return Fan{set: s, msg: messages[0], more: messages[1:], age: age}
}

// putsPerClock is how many puts share one reading of the clock, which costs
// about as much as the rest of a put. It bounds by how little a message may
// expire too early, and never too late: by what so many puts take.
const putsPerClock = 64

// Put does what [Set.PutAged] does with the Fan's message, its first, and its
// age: it never blocks, and returns the same errors. ref is the channel's, or the
// zero Ref. If it is no longer good, the channel is found by its name.
func (f *Fan) Put(channel string, ref Ref) error {
	sh, q, err := f.lock(channel, ref)
	if err != nil {
		return err
	}
	return f.put(sh, q, f.msg)
}

// PutAll is Put for all messages of the Fan, in their order. It returns how many
// were taken: the first ones. Where that is not all, err says why the others were
// not.
func (f *Fan) PutAll(channel string, ref Ref) (taken int, err error) {
	for ; taken <= len(f.more); taken++ {
		sh, q, err := f.lock(channel, ref)
		if err != nil {
			return taken, err
		}
		now := f.now()
		if taken == 0 && q.waiting <= 1 && f.age < f.set.expiry && !q.stale(now-int64(f.set.expiry)) {
			return f.putTogether(sh, q, now)
		}
		if err := f.put(sh, q, f.message(taken)); err != nil {
			return taken, err
		}
	}
	return taken, nil
}

// putTogether puts all messages on a queue where at most one receiver waits and
// nothing has expired. That one is woken when the rest is there. It unlocks the
// shard.
func (f *Fan) putTogether(sh *shard, q *queue, now int64) (taken int, err error) {
	w := q.first
	if w != nil {
		q.removeWaiter(w)
		sh.received++
		taken++
	}
	handedOver := taken
	for ; taken <= len(f.more) && !q.full(); taken++ {
		q.push(f.message(taken), now-int64(max(f.age, 0)))
	}
	if taken <= len(f.more) {
		err = layer.ErrChannelFull
	}
	sh.accepted += uint64(taken)
	sh.fanned += uint64(taken)
	queued := taken > handedOver
	if queued {
		q.quietSince = min(q.quietSince, now)
	}
	wake := (queued || !q.specific) && sh.activateLocked(q)
	sh.mu.Unlock()
	if w != nil {
		w.result <- f.msg
	}
	if wake {
		f.set.wakeSweeper()
	}
	return taken, err
}

// message returns the i-th message.
func (f *Fan) message(i int) layer.Message {
	if i == 0 {
		return f.msg
	}
	return f.more[i-1]
}

// now is the time, which some puts share.
func (f *Fan) now() int64 {
	if f.at == 0 {
		f.at = f.set.now()
	}
	return f.at
}

// lock finds the channel's queue, and locks its shard.
func (f *Fan) lock(channel string, ref Ref) (*shard, *queue, error) {
	if f.puts++; f.puts == putsPerClock {
		f.at, f.puts = 0, 0
	}
	if ref.q != nil {
		sh := &f.set.shards[ref.q.shard]
		sh.mu.Lock()
		if !ref.q.gone {
			return sh, ref.q, nil
		}
		sh.mu.Unlock()
	}
	sh, hash := f.set.shard(channel)
	sh.mu.Lock()
	q := sh.queues.get(hash, channel)
	if q == nil {
		var err error
		if q, err = f.set.missLocked(sh, hash, channel); err != nil {
			sh.mu.Unlock()
			return nil, nil, layer.NotSent(err)
		}
	}
	return sh, q, nil
}

// put puts a message on a queue. It unlocks the shard.
func (f *Fan) put(sh *shard, q *queue, msg layer.Message) error {
	if q.first != nil && f.age < f.set.expiry {
		sh.fanned++
		f.set.handOver(sh, q, msg)
		return nil
	}
	return f.set.put(sh, q, msg, f.now(), f.age, 1) // who waits got it at whatever time it is
}
