package channelsredis

import (
	"fmt"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/channellayer/channellayer/internal/pypeer"
	"github.com/channellayer/channellayer/layer"
)

// A glob of channel_capacity matches the same names here as in Python, or is an
// error that names it.
func TestInteropCapacityGlobs(t *testing.T) {
	python := pypeer.Start(t)
	client := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1"})
	defer client.Close()
	names := []string{"http.request", "http.response!x", "http", "HTTP.request", "a", "b", "ab", "abc", "a-c", "a.c", "a!b", "specific.0123!abc", "!", "c", "-", "^"}
	refused := 0
	for _, glob := range []string{
		"http.request", "http.response!*", "http*", "*", "?", "??", "a?c", "a*c", "*.c", "a.c", "*!*", "*!", "specific.*!abc",
		"[ab]", "[!ab]", "[!a]*", "*[!c]", "[a-c]", "[!a-c]", "a[!-]c", "a[-.]c", "a[.-]c", "[", "a[", "[]", "[!]", "[a", "[c-a]", "[!!]", "a[!b]c", "***c", "",
	} {
		theirs := python.Core(pypeer.Options{Hosts: []string{"redis://127.0.0.1:1"}, ChannelCapacity: map[string]int{glob: 7}})
		o, err := Options{Hosts: []redis.UniversalClient{client}, ChannelCapacity: []layer.CapacityRule{{Pattern: glob, Capacity: 7}}}.withDefaults()
		if err != nil {
			require.ErrorIs(t, err, layer.ErrInvalidOption, glob)
			require.ErrorContains(t, err, "ChannelCapacity[0].Pattern", glob)
			refused++
			continue
		}
		limits, err := o.limits()
		require.NoError(t, err, glob)
		for _, name := range names {
			require.Equal(t, theirs.Capacity(name), limits.CapacityFor(name), "capacity of %s by %q", name, glob)
		}
	}
	require.Less(t, refused, 10, fmt.Sprint("globs that are refused: ", refused))
}
