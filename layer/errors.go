package layer

import (
	"context"
	"errors"
	"strconv"
)

// ErrNotSent and ErrMaybeSent tell the two outcomes of a failed send apart.
// Every error of Send and GroupSend matches exactly one of them.
var (
	// ErrNotSent: no member received the message, nor ever will. It is safe to
	// send it again.
	ErrNotSent = errors.New("layer: not sent")

	// ErrMaybeSent: the outcome is unknown. Sending again may deliver twice.
	ErrMaybeSent = errors.New("layer: may have been sent")
)

// Errors that say what was wrong. Those that a send can meet before anything
// leaves the process match ErrNotSent by themselves.
var (
	ErrInvalidName     error = &sentinel{"layer: invalid name", ErrNotSent}
	ErrInvalidMessage  error = &sentinel{"layer: invalid message", ErrNotSent}
	ErrMessageTooLarge error = &sentinel{"layer: message too large", ErrNotSent}

	// ErrChannelFull: the channel holds as many unread messages as its
	// capacity allows.
	ErrChannelFull error = &sentinel{"layer: channel is full", ErrNotSent}

	// ErrInboxFull: what waits at the broker for the receiving process has
	// reached its bound. It is an ErrChannelFull.
	ErrInboxFull error = &sentinel{"layer: inbox of the receiving process is full", ErrChannelFull}

	// ErrChannelGone: the process-specific channel does not exist now: it was
	// released or abandoned, or its process is unreachable.
	ErrChannelGone error = &sentinel{"layer: no such channel", ErrNotSent}

	// ErrForeignChannel: only the process that made the channel can do this.
	ErrForeignChannel = errors.New("layer: channel belongs to another process")

	// ErrDecode: the message does not fit the value given to Decode.
	ErrDecode = errors.New("layer: message does not fit the destination")

	// ErrClosed: the layer was closed.
	ErrClosed = errors.New("layer: closed")

	// ErrUnavailable: the layer cannot reach its broker now, and tries on. By
	// itself it says nothing about the outcome of a send: that is told by
	// [NotSent] or [MaybeSent] around it.
	ErrUnavailable = errors.New("layer: the broker is away")
)

// sentinel is an error that is also its parent, for errors.Is.
type sentinel struct {
	text   string
	parent error
}

func (s *sentinel) Error() string { return s.text }
func (s *sentinel) Unwrap() error { return s.parent }

// Error adds to an error what was being done and to what. Errors on hot paths
// (a full channel, a closed layer, an ended ctx) come bare instead.
type Error struct {
	Op   string // what failed, such as "send" or "channel name"
	Name string // the channel, group, field or path it failed on; may be empty
	Err  error
}

// maxQuoted bounds how much of a name an error repeats: names may come from
// outside.
const maxQuoted = 2 * MaxNameLength

func (e *Error) Error() string {
	if e.Name == "" {
		return e.Op + ": " + e.Err.Error()
	}
	name := e.Name
	if len(name) > maxQuoted {
		name = name[:maxQuoted] + "..."
	}
	return e.Op + " " + strconv.Quote(name) + ": " + e.Err.Error()
}

func (e *Error) Unwrap() error { return e.Err }

var _ error = (*Error)(nil)

// outcome joins an error with ErrNotSent or ErrMaybeSent. It has Is and As in
// place of Unwrap so that it matches one of the two even where err, joined of
// several, matches both.
type outcome struct {
	which error
	err   error
}

func (o *outcome) Error() string      { return o.which.Error() + ": " + o.err.Error() }
func (o *outcome) As(target any) bool { return errors.As(o.err, target) }

func (o *outcome) Is(target error) bool {
	if target == ErrNotSent || target == ErrMaybeSent {
		return target == o.which
	}
	return errors.Is(o.err, target)
}

// The outcomes that hot paths meet are made once.
var (
	closedNotSent   = &outcome{ErrNotSent, ErrClosed}
	canceledNotSent = &outcome{ErrNotSent, context.Canceled}
	deadlineNotSent = &outcome{ErrNotSent, context.DeadlineExceeded}
)

// NotSent returns err as an error that matches [ErrNotSent] too. An error that
// already tells its outcome is returned as it is; one that tells both, as when
// parts of a send fared differently, becomes an [ErrMaybeSent]. nil stays nil.
// For backends.
func NotSent(err error) error {
	switch err {
	case nil:
		return nil
	case ErrClosed:
		return closedNotSent
	case context.Canceled:
		return canceledNotSent
	case context.DeadlineExceeded:
		return deadlineNotSent
	}
	return withOutcome(ErrNotSent, err)
}

// MaybeSent returns err as an error that matches [ErrMaybeSent] too. An error
// that already tells its outcome is treated as by [NotSent]. For backends.
func MaybeSent(err error) error {
	if err == nil {
		return nil
	}
	return withOutcome(ErrMaybeSent, err)
}

func withOutcome(which, err error) error {
	notSent, maybeSent := errors.Is(err, ErrNotSent), errors.Is(err, ErrMaybeSent)
	switch {
	case notSent && maybeSent:
		return &outcome{ErrMaybeSent, err}
	case notSent || maybeSent:
		return err
	}
	return &outcome{which, err}
}
