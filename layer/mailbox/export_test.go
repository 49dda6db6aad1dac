package mailbox

import "unsafe"

// The sizes that comments promise.
const (
	QueueSize = unsafe.Sizeof(queue{})
	ShardSize = unsafe.Sizeof(shard{})
)

// Table lets tests choose the hashes, so that they collide.
type Table struct{ t table }

func (t *Table) Add(hash uint64, name string) { t.t.add(hash, &queue{name: name}) }

func (t *Table) Has(hash uint64, name string) bool { return t.t.get(hash, name) != nil }

func (t *Table) Remove(hash uint64, name string) { t.t.remove(hash, t.t.get(hash, name)) }

func (t *Table) Names() (names []string) {
	for q := range t.t.all() {
		names = append(names, q.name)
	}
	return names
}

// Slots is how many slots the table holds memory for.
func (t *Table) Slots() int { return len(t.t.slots) }
