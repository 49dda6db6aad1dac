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

// Fan puts one message on many channels, one after another, as a group send
// does. What the channels have in common is done once. Make one with [Set.Fan]
// for each message; it is for one goroutine.
type Fan struct {
	set  *Set
	msg  layer.Message
	age  time.Duration
	at   int64 // when the clock was read, or 0
	puts int   // since then
}

// Fan returns a Fan for a message that a broker accepted age ago, or 0.
func (s *Set) Fan(msg layer.Message, age time.Duration) Fan {
	return Fan{set: s, msg: msg, age: age}
}

// putsPerClock is how many puts share one reading of the clock, which costs
// about as much as the rest of a put. It bounds by how little a message may
// expire too early, and never too late: by what so many puts take.
const putsPerClock = 64

// Put does what [Set.PutAged] does with the Fan's message and age: it never
// blocks, and returns the same errors. ref is the channel's, or the zero Ref.
// If it is no longer good, the channel is found by its name.
func (f *Fan) Put(channel string, ref Ref) error {
	if f.puts++; f.puts == putsPerClock {
		f.at, f.puts = 0, 0
	}
	if ref.q == nil {
		return f.putByName(channel)
	}
	sh := &f.set.shards[ref.q.shard]
	sh.mu.Lock()
	if ref.q.gone {
		sh.mu.Unlock()
		return f.putByName(channel)
	}
	return f.put(sh, ref.q)
}

func (f *Fan) putByName(channel string) error {
	sh, hash := f.set.shard(channel)
	sh.mu.Lock()
	q := sh.queues.get(hash, channel)
	if q == nil {
		var err error
		if q, err = f.set.missLocked(sh, hash, channel); err != nil {
			sh.mu.Unlock()
			return layer.NotSent(err)
		}
	}
	return f.put(sh, q)
}

// put puts the message on a queue. It unlocks the shard.
func (f *Fan) put(sh *shard, q *queue) error {
	if q.first != nil && f.age < f.set.expiry {
		sh.fanned++
		f.set.handOver(sh, q, f.msg)
		return nil
	}
	if f.at == 0 { // who waits got it at whatever time it is
		f.at = f.set.now()
	}
	return f.set.put(sh, q, f.msg, f.at, f.age, 1)
}
