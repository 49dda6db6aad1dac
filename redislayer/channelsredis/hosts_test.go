package channelsredis

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// The hosts are those that Python's channels_redis.utils._consistent_hash
// returns for these names.
func TestHostOf(t *testing.T) {
	names := []string{"", "a", "jobs", "chat_lobby", "specific.0123456789abcdef0123456789abcdef!", "room-7", "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"}
	for n, want := range map[int][]int{
		1:    {0, 0, 0, 0, 0, 0, 0},
		2:    {0, 1, 1, 1, 0, 1, 0},
		3:    {0, 2, 2, 1, 1, 2, 0},
		4:    {0, 3, 3, 2, 1, 3, 0},
		5:    {0, 4, 4, 2, 1, 4, 0},
		7:    {0, 6, 6, 3, 2, 5, 0},
		16:   {0, 14, 13, 8, 5, 13, 1},
		1000: {0, 891, 860, 526, 340, 824, 71},
		4096: {0, 3651, 3525, 2156, 1393, 3379, 294},
	} {
		for i, name := range names {
			require.Equal(t, want[i], hostOf(name, n), "host of %q of %d", name, n)
		}
	}
}
