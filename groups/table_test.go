package groups

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTableShrinks(t *testing.T) {
	const total = 10_000
	var numbers table[int, int]
	for i := range total {
		numbers.put(i, -i)
	}
	require.Equal(t, total, numbers.peak)
	shrunk := 0
	for i := range total {
		before := numbers.peak
		numbers.delete(i)
		if numbers.peak < before {
			shrunk++
		}
		require.Equal(t, total-1-i, numbers.len())
		require.True(t, numbers.peak < minShrink || numbers.len() > numbers.peak/4,
			"%d entries are left in a map made for %d", numbers.len(), numbers.peak)
		if last := total - 1; i < last {
			require.Equal(t, -last, numbers.get(last), "an entry was lost when %d were left", numbers.len())
		}
	}
	require.InDelta(t, 4, shrunk, 1, "moves on the way from 10,000 entries to none, each to a quarter")
	require.Zero(t, numbers.get(0))
}

func TestTableZeroValue(t *testing.T) {
	var numbers table[int, int]
	numbers.delete(1)
	require.Zero(t, numbers.get(1))
	require.Zero(t, numbers.len())
	numbers.put(1, 2)
	require.Equal(t, 2, numbers.get(1))
}
