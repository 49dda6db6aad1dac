package channelsredis

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// The server's clock is not taken to be behind because an answer took long.
func TestCoreClockOfTheServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		w := &writer{c: &Core{base: start}}
		const ahead = 1000 * time.Second // is the server's clock of the layer's
		trip := func(there, back, changed time.Duration) {
			w.asked = w.c.now()
			time.Sleep(there)
			at := time.Since(start) + ahead + changed
			time.Sleep(back)
			w.setClock(at.Microseconds())
		}
		off := func() time.Duration { return time.Duration(w.clock.Load()) - ahead }

		trip(time.Millisecond, time.Millisecond, 0)
		require.Zero(t, off(), "the middle of the round trip counts")
		trip(time.Millisecond, 2*time.Second, 0)
		require.Zero(t, off(), "an answer that took long tells less than what is known")
		trip(2*time.Second, time.Millisecond, 0)
		require.Zero(t, off(), "so does one to a question that did")
		trip(time.Millisecond, time.Millisecond, time.Minute)
		require.Equal(t, time.Minute, off(), "a clock that was set is followed")

		// A line that becomes slow is believed by and by.
		for range 60 {
			time.Sleep(beatInterval)
			trip(50*time.Millisecond, 50*time.Millisecond, 0)
		}
		require.Zero(t, off())
	})
}
