package layer_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/channellayer/channellayer/layer"
)

var sentinels = []error{
	layer.ErrNotSent, layer.ErrMaybeSent, layer.ErrInvalidName, layer.ErrInvalidMessage, layer.ErrMessageTooLarge, layer.ErrChannelFull,
	layer.ErrInboxFull, layer.ErrChannelGone, layer.ErrForeignChannel, layer.ErrDecode, layer.ErrClosed, layer.ErrInvalidOption,
}

func TestSentinels(t *testing.T) {
	matches := map[error][]error{ // besides itself
		layer.ErrInvalidName:     {layer.ErrNotSent},
		layer.ErrInvalidMessage:  {layer.ErrNotSent},
		layer.ErrMessageTooLarge: {layer.ErrNotSent},
		layer.ErrChannelFull:     {layer.ErrNotSent},
		layer.ErrInboxFull:       {layer.ErrNotSent, layer.ErrChannelFull},
		layer.ErrChannelGone:     {layer.ErrNotSent},
	}
	for _, a := range sentinels {
		for _, b := range sentinels {
			want := a == b
			for _, parent := range matches[a] {
				want = want || parent == b
			}
			require.Equal(t, want, errors.Is(a, b), "%v is %v", a, b)
		}
	}
}

func TestExactlyOneOutcome(t *testing.T) {
	plain := errors.New("connection reset")
	causes := append([]error{
		plain, context.Canceled, context.DeadlineExceeded, &net.OpError{Op: "read", Err: plain}, sliceError{plain},
		fmt.Errorf("call: %w", context.Canceled), fmt.Errorf("call: %w", layer.ErrClosed), errors.Join(plain, layer.ErrClosed),
		&layer.Error{Op: "send", Err: layer.ErrChannelFull}, errors.Join(layer.ErrInboxFull, plain),
		layer.MaybeSent(plain), layer.NotSent(plain), fmt.Errorf("again: %w", layer.MaybeSent(layer.NotSent(plain))),
		errors.Join(layer.ErrInboxFull, layer.MaybeSent(plain)), errors.Join(layer.ErrMaybeSent, layer.ErrNotSent),
	}, sentinels...)
	for _, cause := range causes {
		told := errors.Is(cause, layer.ErrNotSent) || errors.Is(cause, layer.ErrMaybeSent)
		both := errors.Is(cause, layer.ErrNotSent) && errors.Is(cause, layer.ErrMaybeSent)
		for name, got := range map[string]error{"NotSent": layer.NotSent(cause), "MaybeSent": layer.MaybeSent(cause)} {
			what := fmt.Sprintf("%s(%v)", name, cause)
			notSent, maybeSent := errors.Is(got, layer.ErrNotSent), errors.Is(got, layer.ErrMaybeSent)
			require.True(t, notSent != maybeSent, "%s: ErrNotSent %v, ErrMaybeSent %v", what, notSent, maybeSent)
			switch {
			case both:
				require.True(t, maybeSent, "%s: the doubt wins", what)
			case told:
				require.True(t, fmt.Sprint(cause) == fmt.Sprint(got), "%s becomes %v", what, got)
				require.Equal(t, errors.Is(cause, layer.ErrNotSent), notSent, what)
			default:
				require.Equal(t, name == "NotSent", notSent, what)
			}
			for _, is := range []error{plain, context.Canceled, context.DeadlineExceeded, layer.ErrClosed, layer.ErrInboxFull, layer.ErrChannelFull} {
				require.Equal(t, errors.Is(cause, is), errors.Is(got, is), "%s is %v", what, is)
			}
			var op *net.OpError
			require.Equal(t, errors.As(cause, &op), errors.As(got, &op), "%s as a *net.OpError", what)
			require.Contains(t, got.Error(), cause.Error())
		}
	}
	require.NoError(t, layer.NotSent(nil))
	require.NoError(t, layer.MaybeSent(nil))
	require.EqualError(t, layer.NotSent(layer.ErrClosed), "layer: not sent: layer: closed")
	require.EqualError(t, layer.MaybeSent(context.Canceled), "layer: may have been sent: context canceled")
}

// sliceError cannot be compared.
type sliceError []error

func (s sliceError) Error() string { return fmt.Sprint([]error(s)) }

func (s sliceError) Unwrap() []error { return s }

func TestHotErrorsAllocateNothing(t *testing.T) {
	var err error
	for _, cause := range []error{nil, layer.ErrClosed, context.Canceled, context.DeadlineExceeded, layer.ErrChannelFull, layer.ErrInboxFull, layer.ErrChannelGone} {
		require.Zero(t, testing.AllocsPerRun(100, func() { err = layer.NotSent(cause) }), "NotSent(%v)", cause)
		require.Equal(t, cause == nil, err == nil)
	}
	require.Zero(t, testing.AllocsPerRun(100, func() { err = layer.ValidateChannel("specific.abc!def") }))
	require.NoError(t, err)
}

func TestErrorText(t *testing.T) {
	long := strings.Repeat("x", 1<<20)
	for want, err := range map[string]*layer.Error{
		`send "a": layer: channel is full`:            {Op: "send", Name: "a", Err: layer.ErrChannelFull},
		`flush: layer: closed`:                        {Op: "flush", Err: layer.ErrClosed},
		`send "a\nb\"\xff": layer: closed`:            {Op: "send", Name: "a\nb\"\xff", Err: layer.ErrClosed},
		`send "` + long[:200] + `...": layer: closed`: {Op: "send", Name: long, Err: layer.ErrClosed},
	} {
		require.EqualError(t, err, want)
	}
	require.ErrorIs(t, &layer.Error{Op: "open", Err: fs.ErrNotExist}, fs.ErrNotExist)
	require.Less(t, len(layer.ValidateChannel(strings.Repeat("\n", 1<<20)).Error()), 1000)
}
