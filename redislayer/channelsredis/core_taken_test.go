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
		require.Equal(t, began, taken.oldest(), "of no queue")
		taken.begin([]string{"a"}, began)
		time.Sleep(10 * time.Second)
		taken.begin([]string{"a", "b"}, time.Now())
		require.Equal(t, began, taken.oldest("a", "b"))
		require.Equal(t, began.Add(10*time.Second), taken.oldest("b"))
		taken.reached(began.Add(20*time.Second), "a", "b")
		require.Equal(t, time.Now(), taken.oldest("a", "b"), "it is never later than now")
		time.Sleep(15 * time.Second)
		taken.reached(began.Add(5*time.Second), "a")
		require.Equal(t, began.Add(20*time.Second), taken.oldest("a"), "it never goes back")
		time.Sleep(time.Hour)
		require.Equal(t, time.Now().Add(-time.Minute), taken.oldest("a"), "what is older has expired")
		require.Equal(t, time.Now(), taken.oldestOfAll(), "nobody has read any for an hour")
		taken.reached(time.Now().Add(-time.Second), "b")
		require.Equal(t, time.Now().Add(-time.Second), taken.oldestOfAll())

		// Queues that nobody reads any more are forgotten.
		for i := range 10_000 {
			taken.begin([]string{fmt.Sprint(i)}, time.Now())
			time.Sleep(time.Second)
			require.Less(t, len(taken.until), 200)
		}
		require.Equal(t, time.Now().Add(-10*time.Second), taken.oldest(fmt.Sprint(9_999), fmt.Sprint(9_990)))
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
			p := &popper{w: w, runID: test.was, taken: newTaken(time.Minute)}
			sent := time.Now().Add(-time.Second)
			p.taken.begin([]string{"queue"}, sent)
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
