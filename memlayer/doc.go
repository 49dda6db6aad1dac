// Package memlayer is the channel layer for a single process: messages go from
// goroutine to goroutine and nothing leaves the program. It keeps every rule
// of package layer's contract, passes the conformance suite with no exception,
// and is what the examples run on unless told otherwise.
//
//	bus, err := memlayer.New(memlayer.Options{})
//
// It is meant for production: for a server that needs no second process, for
// the parts of a larger one that talk among themselves, and for tests that
// should behave as they would on Redis.
//
// # How it works
//
// Package groups knows the members of each group, package layer/mailbox holds
// each channel's queue. A Send puts the message into one mailbox; a GroupSend
// walks the group, where each member stands with its mailbox, and puts the one
// immutable message into each. No goroutine or timer belongs to a channel or a
// message. Two goroutines belong to a layer: one lets unread messages expire
// and finds abandoned channels, one removes expired memberships. Both end with
// Close.
//
// # Delivery and failure
//
// Every call is done when it returns: a nil error means that the message is in
// the mailboxes it was for. Only Receive waits. There is no broker, so there
// are no gaps, and what ends with the process is all that is ever lost.
//
// # Names
//
// A channel's name is prefix, '.', 26 random characters drawn once for a
// layer, '!', and a number. A channel of another layer cannot be reached:
// sending to it is [layer.ErrChannelGone], receiving on it
// [layer.ErrForeignChannel]; as a member of a group it is passed over.
//
// # Concurrency
//
// All methods may be called concurrently. Channels and groups are spread over
// locks by their names, so sends to different ones rarely meet.
package memlayer
