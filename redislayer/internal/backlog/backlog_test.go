package backlog

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := New(time.Minute)
		began := time.Now()
		require.Equal(t, began, b.Oldest(time.Now(), nil), "of no queue")
		b.Begin([]string{"a"}, began)
		time.Sleep(10 * time.Second)
		b.Begin([]string{"a", "b"}, time.Now())
		require.Equal(t, began, b.Oldest(time.Now(), []string{"a", "b"}))
		require.Equal(t, began.Add(10*time.Second), b.Oldest(time.Now(), []string{"b"}))
		b.Reached(began.Add(20*time.Second), "a", "b")
		require.Equal(t, time.Now(), b.Oldest(time.Now(), []string{"a", "b"}), "it is never later than now")
		time.Sleep(15 * time.Second)
		b.Reached(began.Add(5*time.Second), "a")
		require.Equal(t, began.Add(20*time.Second), b.Oldest(time.Now(), []string{"a"}), "it never goes back")
		time.Sleep(time.Hour)
		require.Equal(t, time.Now().Add(-time.Minute), b.Oldest(time.Now(), []string{"a"}), "what is older has expired")
		require.Equal(t, time.Now(), b.OldestOfAll(time.Now(), nil), "nobody has read any for an hour")
		require.Equal(t, time.Now().Add(-time.Minute), b.OldestOfAll(time.Now(), []string{"a"}), "of these at least")
		require.Equal(t, time.Now().Add(-time.Minute), b.OldestOfAll(time.Now(), []string{"unknown"}))
		require.Equal(t, began.Add(20*time.Second), b.OldestOfAll(began.Add(40*time.Second), nil), "what had not expired then")
		b.Begin([]string{"b"}, time.Now())
		require.Equal(t, time.Now().Add(-time.Minute), b.OldestOfAll(time.Now(), nil), "b is read, and has been reached an hour ago")
		b.Reached(time.Now().Add(-time.Second), "b")
		require.Equal(t, time.Now().Add(-time.Second), b.OldestOfAll(time.Now(), nil))
		b.FellBack(time.Now().Add(-2*time.Second), "b")
		require.Equal(t, time.Now().Add(-2*time.Second), b.OldestOfAll(time.Now(), nil), "something was given back")
		b.FellBack(time.Now().Add(-time.Second), "b")
		require.Equal(t, time.Now().Add(-2*time.Second), b.OldestOfAll(time.Now(), nil), "it stands behind older ones")

		// One that is forgotten meanwhile, or was never known, costs nothing.
		b.Reached(time.Now(), "unknown")
		b.FellBack(time.Now(), "unknown")
		require.Equal(t, time.Now().Add(-time.Minute), b.Oldest(time.Now(), []string{"unknown"}))

		// Queues that nobody reads any more are forgotten.
		for i := range 10_000 {
			b.Begin([]string{fmt.Sprint(i)}, time.Now())
			time.Sleep(time.Second)
			require.Less(t, len(b.queues), 200)
		}
		require.Equal(t, time.Now().Add(-10*time.Second), b.Oldest(time.Now(), []string{fmt.Sprint(9_999), fmt.Sprint(9_990)}))
	})
}
