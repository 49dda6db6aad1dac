package mailbox

import (
	"hash/maphash"
	"iter"
)

// table finds a shard's queues by name. A Go map would hash the name again,
// after it was hashed for the choice of the shard, and look it up in 25 ns
// where this takes 15; it would take 56 bytes for a channel instead of 34, and
// never give them back. It is a hash table with linear probing: a queue stands
// in the first free slot from the one that its hash points to. The zero table
// is empty.
type table struct {
	slots []slot // none, or a power of two of them, of which a quarter is free
	count int
}

type slot struct {
	hash  uint64
	queue *queue // nil in a free slot
}

// minSlots is how many slots a table has at least, once it has any.
const minSlots = 8

var seed = maphash.MakeSeed()

// hashOf chooses a channel's shard by its lowest bits, and its place there by the
// others.
func hashOf(channel string) uint64 { return maphash.String(seed, channel) }

func home(hash uint64) int { return int(hash / numShards) }

func (t *table) get(hash uint64, name string) *queue {
	if t.count == 0 {
		return nil
	}
	slots, mask := t.slots, len(t.slots)-1
	for i := home(hash); ; i++ {
		s := &slots[i&mask]
		if s.queue == nil || s.hash == hash && s.queue.name == name {
			return s.queue
		}
	}
}

// add adds a queue that is not in the table.
func (t *table) add(hash uint64, q *queue) {
	if t.count >= len(t.slots)*3/4 {
		t.resize(max(minSlots, 2*len(t.slots)))
	}
	t.place(slot{hash, q})
	t.count++
}

// remove removes a queue that is in the table. The queues behind it close up
// to where a search for them would not pass the gap.
func (t *table) remove(hash uint64, q *queue) {
	mask := len(t.slots) - 1
	gap := home(hash) & mask
	for t.slots[gap].queue != q {
		gap = (gap + 1) & mask
	}
	for i := (gap + 1) & mask; t.slots[i].queue != nil; i = (i + 1) & mask {
		fromHome := (i - home(t.slots[i].hash)) & mask
		if fromGap := (i - gap) & mask; fromHome >= fromGap {
			t.slots[gap] = t.slots[i]
			gap = i
		}
	}
	t.slots[gap] = slot{}
	t.count--
	// Halving only when an eighth is in use makes it rare.
	if len(t.slots) > minSlots && t.count <= len(t.slots)/8 {
		t.resize(len(t.slots) / 2)
	}
}

func (t *table) resize(size int) {
	before := t.slots
	t.slots = make([]slot, size)
	for _, s := range before {
		if s.queue != nil {
			t.place(s)
		}
	}
}

func (t *table) place(s slot) {
	mask := len(t.slots) - 1
	i := home(s.hash) & mask
	for t.slots[i].queue != nil {
		i = (i + 1) & mask
	}
	t.slots[i] = s
}

// all walks over the queues, in no order. The loop body must not add or remove
// any.
func (t *table) all() iter.Seq[*queue] {
	return func(yield func(*queue) bool) {
		for _, s := range t.slots {
			if s.queue != nil && !yield(s.queue) {
				return
			}
		}
	}
}
