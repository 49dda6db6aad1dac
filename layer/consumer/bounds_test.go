package consumer

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestBoundsKeepOneForReading(t *testing.T) {
	var bs bounds
	byValue := struct{ context.Context }{t.Context()}
	bs.done(bs.beginReading(byValue))
	require.Empty(t, bs.all, "a ctx that is no pointer is not kept")

	for range 5 {
		ctx, cancel := context.WithCancel(t.Context())
		first := bs.beginReading(ctx)
		bs.done(first)
		again := bs.beginReading(ctx)
		require.Same(t, first, again)
		other := bs.beginReading(t.Context())
		require.NotSame(t, first, other)
		require.Len(t, bs.all, 2)
		bs.done(other)
		require.Error(t, other.ctx.Err(), "a call's bound that is over")
		bs.done(again)
		require.NoError(t, again.ctx.Err(), "the kept one")
		cancel()
		require.Len(t, bs.all, 1, "bounds after a reader's ctx ended")
	}
}

func TestBoundsEndAtClose(t *testing.T) {
	var bs bounds
	kept, call := bs.beginReading(t.Context()), bs.begin(t.Context())
	bs.close()
	require.Error(t, kept.ctx.Err())
	require.Error(t, call.ctx.Err())
	bs.done(call)
	late := bs.begin(t.Context())
	require.Error(t, late.ctx.Err(), "a call that begins while Close is under way")
	bs.done(late)
	require.Empty(t, bs.all)
}
