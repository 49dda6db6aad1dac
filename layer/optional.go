package layer

import (
	"context"
	"errors"
)

// Flusher is implemented by layers that can empty themselves.
type Flusher interface {
	// Flush drops every unread message and ends every membership, in every
	// process on the bus under the same prefix. Channels go on existing. It is
	// meant for tests. Local drops are counted as [DropClosed].
	Flush(ctx context.Context) error
}

// Releaser is implemented by layers that can forget a channel at once.
type Releaser interface {
	// Release ends a process-specific channel of this layer: its memberships
	// end, its unread messages are dropped ([DropClosed]), receivers waiting
	// on it return [ErrChannelGone]. Releasing a channel that is already gone
	// does nothing.
	//
	// Errors: [ErrInvalidName] for a name that is not process-specific,
	// [ErrForeignChannel] for another layer's channel.
	Release(ctx context.Context, channel string) error
}

// Pinger is implemented by layers that depend on something that may be away.
type Pinger interface {
	// Ping returns nil when the layer can deliver now, for a readiness check.
	Ping(ctx context.Context) error
}

// BatchReceiver is implemented by layers that hand over in one wake-up all
// that waits on a channel.
type BatchReceiver interface {
	// ReceiveBatch waits as Receive does until there is a message, then moves
	// as many as there are, up to len(buf), into buf, oldest first, and
	// returns their number. The caller owns buf before and after. An empty buf
	// returns 0 at once. On an error nothing was taken.
	ReceiveBatch(ctx context.Context, channel string, buf []Message) (int, error)
}

// Statser is implemented by layers that count.
type Statser interface {
	// Stats returns the counters. It takes no lock that a send waits for long
	// on, so it may be polled.
	Stats() Stats
}

// Flush empties the layer as [Flusher] says. The error matches
// [errors.ErrUnsupported] if the layer cannot.
func Flush(ctx context.Context, l Layer) error {
	if f, ok := capability[Flusher](l); ok {
		return f.Flush(ctx)
	}
	return &Error{Op: "flush", Err: errors.ErrUnsupported}
}

// Release forgets a channel as [Releaser] says. The error matches
// [errors.ErrUnsupported] if the layer cannot.
func Release(ctx context.Context, l Layer, channel string) error {
	if r, ok := capability[Releaser](l); ok {
		return r.Release(ctx, channel)
	}
	return &Error{Op: "release", Name: channel, Err: errors.ErrUnsupported}
}

// Ping checks readiness as [Pinger] says. A layer without Ping depends on
// nothing that could be away: the answer is nil, or ctx's error.
func Ping(ctx context.Context, l Layer) error {
	if p, ok := capability[Pinger](l); ok {
		return p.Ping(ctx)
	}
	return ctx.Err()
}

// ReceiveBatch receives several messages as [BatchReceiver] says. For a layer
// that cannot, it receives one.
func ReceiveBatch(ctx context.Context, l Layer, channel string, buf []Message) (int, error) {
	if b, ok := capability[BatchReceiver](l); ok {
		return b.ReceiveBatch(ctx, channel, buf)
	}
	if len(buf) == 0 {
		return 0, nil
	}
	msg, err := l.Receive(ctx, channel)
	if err != nil {
		return 0, err
	}
	buf[0] = msg
	return 1, nil
}

// ReadStats returns the layer's counters, and false if it keeps none.
func ReadStats(l Layer) (Stats, bool) {
	if s, ok := capability[Statser](l); ok {
		return s.Stats(), true
	}
	return Stats{}, false
}

// capability finds an optional interface on l or on what it wraps: a decorator
// that has a method `Unwrap() Layer` need not forward what it does not change.
func capability[T any](l Layer) (T, bool) {
	for l != nil {
		if t, ok := l.(T); ok {
			return t, true
		}
		u, ok := l.(interface{ Unwrap() Layer })
		if !ok {
			break
		}
		l = u.Unwrap()
	}
	var none T
	return none, false
}
