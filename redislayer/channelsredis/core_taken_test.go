package channelsredis

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/channellayer/channellayer/redislayer/channelsredis/internal/redisconn"
	"github.com/channellayer/channellayer/redislayer/internal/backlog"
)

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
			p := &popper{w: w, heard: time.Now(), runID: test.was, taken: backlog.New(time.Minute), want: func() ([]string, int) { return keys, 1 }}
			sent := time.Now().Add(-time.Second)
			p.taken.Begin(keys, sent)
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
