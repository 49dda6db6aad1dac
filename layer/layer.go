package layer

import (
	"context"
	"iter"
)

// Layer is a channel layer: it carries messages between processes that do not
// know each other's addresses. The package documentation states the contract
// rule by rule; the comments here say what each method adds to it.
//
// All methods may be called concurrently. Each returns promptly when its ctx
// ends, and within the layer's own timeout otherwise; only Receive waits for
// as long as ctx lets it. A ctx that is already done is reported before
// anything is done.
//
// Every error of Send and GroupSend matches exactly one of [ErrNotSent] and
// [ErrMaybeSent]. Every method returns an error that matches [ErrClosed] once
// Close was called.
type Layer interface {
	// NewChannel makes a process-specific channel and returns its name, which
	// begins with prefix ("" stands for [DefaultPrefix]) and is unique on the
	// bus. It makes no round trip and works while the broker is away. Only
	// this Layer can receive on the channel, which exists until [Release],
	// Close, or until it is abandoned (rule 6).
	//
	// Errors: [ErrInvalidName] for a prefix that [ValidatePrefix] refuses.
	NewChannel(ctx context.Context, prefix string) (string, error)

	// Send puts msg on the channel. It never waits for room.
	//
	// Errors: [ErrInvalidName], [ErrInvalidMessage], [ErrMessageTooLarge],
	// [ErrChannelFull] (also [ErrInboxFull]) when the channel has no room,
	// [ErrChannelGone] when it is process-specific and does not exist now.
	Send(ctx context.Context, channel string, msg Message) error

	// Receive takes the next message of the channel. It waits for one until
	// ctx ends, which consumes nothing. Waiting receivers of one Layer are
	// served in order of arrival. On a normal channel, receivers everywhere
	// compete: each message goes to one of them.
	//
	// Errors: ctx's error, [ErrInvalidName], [ErrForeignChannel] for a
	// process-specific channel of another Layer, [ErrChannelGone] for one of
	// this Layer that was released or abandoned, also while waiting.
	Receive(ctx context.Context, channel string) (Message, error)

	// GroupAdd makes channel, which may be any channel on the bus, a member of
	// group until [Limits].GroupExpiry has passed since the last GroupAdd.
	// Adding a member again renews its membership. A GroupSend that begins
	// anywhere after GroupAdd returned reaches the member.
	//
	// Errors: [ErrInvalidName], [ErrChannelGone] for a channel of this Layer
	// that was released or abandoned.
	GroupAdd(ctx context.Context, group, channel string) error

	// GroupDiscard ends a membership. It is fine if there was none.
	//
	// Errors: [ErrInvalidName].
	GroupDiscard(ctx context.Context, group, channel string) error

	// GroupSend puts msg on every channel in the group. Members without room
	// are skipped, and counted ([DropFull]); GroupSend never returns
	// [ErrChannelFull]. A group without members takes the message and drops it.
	//
	// Errors: [ErrInvalidName], [ErrInvalidMessage], [ErrMessageTooLarge].
	GroupSend(ctx context.Context, group string, msg Message) error

	// Close ends the layer: it refuses new calls, waits for writes under way
	// up to the layer's timeout, and wakes every receiver with [ErrClosed].
	// Messages not yet received are dropped and counted ([DropClosed]).
	// Calling it again does nothing and returns nil.
	Close() error
}

// Messages iterates over what Receive returns on the channel. It ends after
// the first error, which it yields last: ctx's error once ctx ends. It is
// Receive in a loop and nothing more, so breaking out of it loses nothing.
func Messages(ctx context.Context, l Layer, channel string) iter.Seq2[Message, error] {
	return func(yield func(Message, error) bool) {
		for {
			msg, err := l.Receive(ctx, channel)
			if !yield(msg, err) || err != nil {
				return
			}
		}
	}
}
