package redislayer

import (
	"testing"

	"github.com/alicebob/miniredis/v2"
	"github.com/stretchr/testify/require"
)

// To ask a process that is closing is to ask for a channel that is gone, and
// not a failure.
func TestAskedWhileClosing(t *testing.T) {
	ctx := t.Context()
	l, err := Open(ctx, "redis://"+miniredis.RunT(t).Addr(), Options{})
	require.NoError(t, err)
	channel, err := l.NewChannel(ctx, "")
	require.NoError(t, err)
	require.NoError(t, l.Close())
	for _, what := range []byte{askAdd, askDiscard} {
		require.EqualValues(t, answerGone, l.requests.do(request{what: what, group: "g", channel: channel}))
	}
}
