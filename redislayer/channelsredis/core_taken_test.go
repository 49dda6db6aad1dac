package channelsredis

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/channellayer/channellayer/redislayer/channelsredis/internal/redisconn"
)

func TestTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		taken := newTaken(time.Minute)
		began := time.Now()
		require.Equal(t, began, taken.oldest(time.Now(), nil), "of no queue")
		taken.begin([]string{"a"}, began)
		time.Sleep(10 * time.Second)
		taken.begin([]string{"a", "b"}, time.Now())
		require.Equal(t, began, taken.oldest(time.Now(), []string{"a", "b"}))
		require.Equal(t, began.Add(10*time.Second), taken.oldest(time.Now(), []string{"b"}))
		taken.reached(began.Add(20*time.Second), "a", "b")
		require.Equal(t, time.Now(), taken.oldest(time.Now(), []string{"a", "b"}), "it is never later than now")
		time.Sleep(15 * time.Second)
		taken.reached(began.Add(5*time.Second), "a")
		require.Equal(t, began.Add(20*time.Second), taken.oldest(time.Now(), []string{"a"}), "it never goes back")
		time.Sleep(time.Hour)
		require.Equal(t, time.Now().Add(-time.Minute), taken.oldest(time.Now(), []string{"a"}), "what is older has expired")
		require.Equal(t, time.Now(), taken.oldestOfAll(time.Now(), nil), "nobody has read any for an hour")
		require.Equal(t, time.Now().Add(-time.Minute), taken.oldestOfAll(time.Now(), []string{"a"}), "of these at least")
		require.Equal(t, time.Now().Add(-time.Minute), taken.oldestOfAll(time.Now(), []string{"unknown"}))
		require.Equal(t, began.Add(20*time.Second), taken.oldestOfAll(began.Add(40*time.Second), nil), "what had not expired then")
		taken.begin([]string{"b"}, time.Now())
		require.Equal(t, time.Now().Add(-time.Minute), taken.oldestOfAll(time.Now(), nil), "b is read, and has been reached an hour ago")
		taken.reached(time.Now().Add(-time.Second), "b")
		require.Equal(t, time.Now().Add(-time.Second), taken.oldestOfAll(time.Now(), nil))
		taken.fellBack(time.Now().Add(-2*time.Second), "b")
		require.Equal(t, time.Now().Add(-2*time.Second), taken.oldestOfAll(time.Now(), nil), "something was given back")
		taken.fellBack(time.Now().Add(-time.Second), "b")
		require.Equal(t, time.Now().Add(-2*time.Second), taken.oldestOfAll(time.Now(), nil), "it stands behind older ones")

		// Queues that nobody reads any more are forgotten.
		for i := range 10_000 {
			taken.begin([]string{fmt.Sprint(i)}, time.Now())
			time.Sleep(time.Second)
			require.Less(t, len(taken.queues), 200)
		}
		require.Equal(t, time.Now().Add(-10*time.Second), taken.oldest(time.Now(), []string{fmt.Sprint(9_999), fmt.Sprint(9_990)}))
	})
}

// A popper that is the first to meet a new server says what the last one held; one
// that meets it after the writer, which has said so, does not say it again.
func TestPopperMeetsAnotherServer(t *testing.T) {
	for _, test := range []struct {
		name, was, writer, is string
		lost                  bool
	}{
		{"the first server", "", "a", "a", false},
		{"the same server", "a", "a", "a", false},
		{"another", "a", "a", "b", true},
		{"another, as the writer has said", "a", "b", "b", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := &writer{runID: test.writer}
			keys := []string{"queue"}
			p := &popper{w: w, heard: time.Now(), runID: test.was, taken: newTaken(time.Minute), want: func() ([]string, int) { return keys, 1 }}
			sent := time.Now().Add(-time.Second)
			p.taken.begin(keys, sent)
			p.meet(&redisconn.Conn{ID: 7, RunID: test.is})
			require.Equal(t, test.is, p.runID)
			require.EqualValues(t, 7, p.last)
			if test.lost {
				require.Equal(t, sent, w.lostFrom)
				require.Equal(t, replaced, w.lostWhy)
			} else {
				require.Empty(t, w.lostWhy)
			}
		})
	}
}
