package mailbox_test

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/channellayer/channellayer/layer/mailbox"
)

// A table does what a map does, also where hashes point to one slot or are
// equal, and never holds more than eight slots a queue.
func TestTable(t *testing.T) {
	for _, hashes := range []uint64{1, 3, 1 << 11, 1 << 60} { // how many different ones there are
		t.Run(fmt.Sprint(hashes), func(t *testing.T) {
			rapid.Check(t, func(rt *rapid.T) {
				var table mailbox.Table
				want := map[string]uint64{}
				growing := true
				for range rapid.IntRange(1, 300).Draw(rt, "steps") {
					if rapid.IntRange(0, 40).Draw(rt, "turn") == 0 {
						growing = !growing
					}
					name := fmt.Sprint(rapid.IntRange(0, 60).Draw(rt, "name"))
					hash, ok := want[name]
					switch {
					case ok && !growing:
						table.Remove(hash, name)
						delete(want, name)
					case !ok && growing:
						hash = rapid.Uint64Max(hashes-1).Draw(rt, "hash") * 32
						table.Add(hash, name)
						want[name] = hash
					}
					for name, hash := range want {
						if !table.Has(hash, name) {
							rt.Fatalf("%q was added with hash %d, and is not found", name, hash)
						}
						if table.Has(hash, "another") {
							rt.Fatal("what was not added is found")
						}
					}
					if got, want := slices.Sorted(slices.Values(table.Names())), slices.Sorted(maps.Keys(want)); !slices.Equal(got, want) {
						rt.Fatalf("the table has %q, want %q", got, want)
					}
					if slots := table.Slots(); slots > max(8, 8*len(want)) {
						rt.Fatalf("%d slots for %d queues", slots, len(want))
					}
				}
			})
		})
	}
}

func TestSizes(t *testing.T) {
	require.EqualValues(t, 96, mailbox.QueueSize, "bytes of a queue, which fill a size class of the allocator")
	require.EqualValues(t, 128, mailbox.ShardSize, "bytes of a shard, so that two share no pair of cache lines")
}

func TestTableGivesMemoryBack(t *testing.T) {
	var table mailbox.Table
	for i := range 10_000 {
		table.Add(uint64(i)<<20, fmt.Sprint(i))
	}
	require.LessOrEqual(t, table.Slots(), 32_768)
	for i := range 10_000 {
		table.Remove(uint64(i)<<20, fmt.Sprint(i))
		require.LessOrEqual(t, table.Slots(), max(8, 8*(10_000-1-i)+8), "slots after %d of 10000 queues have left", i+1)
	}
	require.Empty(t, table.Names())
}
