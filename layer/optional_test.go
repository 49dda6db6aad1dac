package layer_test

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/channellayer/channellayer/layer"
)

// queue is a Layer of which the tests need only Receive.
type queue struct {
	layer.Layer
	messages []layer.Message
}

var errEmpty = errors.New("empty")

func (q *queue) Receive(ctx context.Context, _ string) (layer.Message, error) {
	if len(q.messages) == 0 {
		return layer.Message{}, errEmpty
	}
	msg := q.messages[0]
	q.messages = q.messages[1:]
	return msg, nil
}

func numbered(n int) *queue {
	q := &queue{}
	for i := range n {
		q.messages = append(q.messages, layer.NewMessage(map[string]any{"n": i}))
	}
	return q
}

// able implements every optional interface, and says so by its name.
type able struct {
	queue
	name string
}

func (a *able) Flush(context.Context) error           { return errors.New(a.name) }
func (a *able) Release(context.Context, string) error { return errors.New(a.name) }
func (a *able) Ping(context.Context) error            { return errors.New(a.name) }
func (a *able) Stats() layer.Stats                    { return layer.Stats{Sent: uint64(len(a.name))} }
func (a *able) ReceiveBatch(context.Context, string, []layer.Message) (int, error) {
	return 0, errors.New(a.name)
}

// wrapper forwards nothing but the core interface.
type wrapper struct{ layer.Layer }

func (w wrapper) Unwrap() layer.Layer { return w.Layer }

// pinger overrides one method of what it wraps.
type pinger struct{ wrapper }

func (pinger) Ping(context.Context) error { return errors.New("override") }

func TestFallbacks(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	for name, l := range map[string]layer.Layer{"plain": numbered(3), "wrapped": wrapper{wrapper{numbered(3)}}} {
		require.ErrorIs(t, layer.Flush(ctx, l), errors.ErrUnsupported, name)
		err := layer.Release(ctx, l, "a!b")
		require.ErrorIs(t, err, errors.ErrUnsupported, name)
		require.EqualError(t, err, `release "a!b": unsupported operation`, name)
		require.NoError(t, layer.Ping(ctx, l), name)
		_, ok := layer.ReadStats(l)
		require.False(t, ok, name)

		n, err := layer.ReceiveBatch(ctx, l, "c", nil)
		require.NoError(t, err, name)
		require.Zero(t, n, "%s: nothing for an empty buffer", name)
		buf := make([]layer.Message, 2)
		for i := range 3 {
			n, err = layer.ReceiveBatch(ctx, l, "c", buf)
			require.NoError(t, err, name)
			require.Equal(t, 1, n, name)
			require.Equal(t, int64(i), buf[0].Int("n"), name)
		}
		n, err = layer.ReceiveBatch(ctx, l, "c", buf)
		require.Equal(t, errEmpty, err, name)
		require.Zero(t, n, name)
	}
	cancel()
	require.Equal(t, context.Canceled, layer.Ping(ctx, numbered(0)))
}

func TestCapabilitiesAreFound(t *testing.T) {
	ctx := t.Context()
	inner := &able{name: "able"}
	for name, test := range map[string]struct {
		l    layer.Layer
		ping string
	}{
		"itself":             {inner, "able"},
		"wrapped twice":      {wrapper{wrapper{inner}}, "able"},
		"overridden":         {pinger{wrapper{inner}}, "override"},
		"override inside":    {wrapper{pinger{wrapper{inner}}}, "override"},
		"able in the middle": {wrapper{&able{name: "able", queue: queue{Layer: &able{name: "other"}}}}, "able"},
	} {
		require.EqualError(t, layer.Ping(ctx, test.l), test.ping, name)
		require.EqualError(t, layer.Flush(ctx, test.l), "able", name)
		require.EqualError(t, layer.Release(ctx, test.l, "a!b"), "able", name)
		_, err := layer.ReceiveBatch(ctx, test.l, "c", make([]layer.Message, 1))
		require.EqualError(t, err, "able", name)
		stats, ok := layer.ReadStats(test.l)
		require.True(t, ok, name)
		require.Equal(t, uint64(4), stats.Sent, name)
	}
}

func TestMessagesEndsAfterTheError(t *testing.T) {
	var got []int64
	var errs []error
	for msg, err := range layer.Messages(t.Context(), numbered(3), "c") {
		if err != nil {
			errs = append(errs, err)
			require.Zero(t, msg.Len())
			continue
		}
		got = append(got, msg.Int("n"))
	}
	require.Equal(t, []int64{0, 1, 2}, got)
	require.Equal(t, []error{errEmpty}, errs)
}

func TestBreakingOutOfMessagesLosesNothing(t *testing.T) {
	q := numbered(4)
	var got []int64
	messages := layer.Messages(t.Context(), q, "c")
	for len(q.messages) > 0 {
		for msg, err := range messages {
			require.NoError(t, err)
			got = append(got, msg.Int("n"))
			if len(got)%2 == 0 {
				break
			}
		}
	}
	require.Equal(t, []int64{0, 1, 2, 3}, got)
}

func TestDropReasons(t *testing.T) {
	for reason, want := range map[layer.DropReason]string{
		layer.DropFull: "full", layer.DropExpired: "expired", layer.DropOversized: "oversized", layer.DropUndecodable: "undecodable",
		layer.DropLate: "late", layer.DropClosed: "closed", 6: "DropReason(6)", 255: "DropReason(255)",
	} {
		require.Equal(t, want, reason.String())
	}
	var d layer.Drops
	require.Len(t, d, 6)
	require.Zero(t, d.Total())
	d[layer.DropFull], d[layer.DropClosed] = 2, 3
	require.Equal(t, uint64(5), d.Total())
}
