package groups

import "maps"

// table is a map that gives memory back. A Go map keeps the room for the most
// entries that it ever had; a table moves what is left to a smaller map. The
// zero value is an empty table.
type table[K comparable, V any] struct {
	entries map[K]V
	peak    int // the most entries since the map was made
}

// minShrink is the peak from which on a table shrinks.
const minShrink = 64

func (t *table[K, V]) len() int { return len(t.entries) }

// get returns the zero value for a key that is not there.
func (t *table[K, V]) get(key K) V { return t.entries[key] }

func (t *table[K, V]) put(key K, value V) {
	if t.entries == nil {
		t.entries = make(map[K]V)
	}
	t.entries[key] = value
	t.peak = max(t.peak, len(t.entries))
}

// delete shrinks the map when three quarters of the peak are gone, so the
// moves cost each entry a constant on average.
func (t *table[K, V]) delete(key K) {
	delete(t.entries, key)
	if t.peak < minShrink || len(t.entries) > t.peak/4 {
		return
	}
	smaller := make(map[K]V, len(t.entries))
	maps.Copy(smaller, t.entries)
	t.entries, t.peak = smaller, len(smaller)
}
