// Package layer is the contract of a channel layer: how processes that do not
// know each other's addresses talk live. A web server that holds 100,000
// WebSockets, a worker, and a Django site use one bus through it.
//
// This package holds the contract and nothing that needs a network: the
// [Layer] interface, the immutable [Message], names, [Limits], errors, the
// [Observer], and small optional interfaces ([Flusher], [Releaser], [Pinger],
// [BatchReceiver], [Statser]) with a function each that finds them or falls
// back. It needs only the standard library. Packages memlayer and redislayer
// implement it; package layertest proves that an implementation, also yours,
// keeps it.
//
// # Words
//
//   - A channel is a named FIFO queue that one reader empties. A
//     process-specific channel has a '!' in its name and belongs to the Layer
//     that made it; its name up to and including '!' is the client prefix, the
//     rest the local part. A normal channel has no '!': readers everywhere
//     compete for its messages, as workers do.
//   - A group is a named set of channels. A message sent to it goes to each.
//   - A process, in these documents, is one Layer value: two of them in one
//     operating-system process are strangers to each other.
//   - Capacity is how many unread messages a channel holds; expiry is how long
//     one may stay unread.
//   - A mailbox is a channel's queue in memory; an inbox is a process's queue
//     at a broker.
//
// # The contract
//
// Every backend keeps these rules, or declares and documents which it cannot
// keep, and why.
//
//  1. At most once. No message is delivered twice, or to two readers of one
//     channel, under any fault. What may have happened is not repeated.
//  2. FIFO. One writer and one reader of a process-specific channel see
//     perfect order, across Send and GroupSend mixed, at any rate, and around
//     a send that failed: what a broker runs late is dropped and counted, not
//     delivered after its successors. A normal channel with one reader keeps
//     order likewise while no send has failed.
//  3. Isolation. A message keeps nothing of its maker's and gives nothing of
//     its own away. Every receiver sees the same types: nil, bool, int64,
//     float64, string, []byte, []any, map[string]any. [NewMessage] says what
//     it accepts; the rest is [ErrInvalidMessage] with the path to the value.
//  4. Names. [ValidateChannel], [ValidateGroup] and [ValidatePrefix] say what
//     is valid; the rest is [ErrInvalidName]. [GroupName] makes a valid name
//     of any string. NewChannel makes no round trip.
//  5. Capacity. A channel holds [Limits].Capacity unread messages. Send to a
//     full one that is normal or in the same process returns [ErrChannelFull]
//     at once. Where the reader is elsewhere the layer may accept, and drop at
//     the full mailbox: that is counted. GroupSend skips and counts full
//     members. One slow channel delays no other.
//  6. Expiry. A message unread for [Limits].Expiry since the layer accepted it
//     is never delivered, whatever the sender's wall clock says. A
//     process-specific channel on which a message expires after nobody called
//     Receive for the whole of Expiry is abandoned: it ends as if released,
//     with its memberships, and that is reported ([Observer].Abandoned). An
//     owner that comes back learns it by [ErrChannelGone].
//  7. Groups. A membership ends [Limits].GroupExpiry after the last GroupAdd.
//     Any channel may be added from any process. GroupAdd, and after it
//     returned GroupSend from anywhere, reaches the member.
//  8. Size. [Message].Size is the same on every backend. Above
//     [Limits].MaxMessageSize a message is [ErrMessageTooLarge]. Every layer
//     carries messages of 1,000,000 bytes.
//  9. Receive. It waits for a message, for the end of ctx, or for Close. A
//     cancelled Receive consumes nothing. Receivers that wait are served in
//     order of arrival within a layer. Receiving on another process's channel
//     is [ErrForeignChannel]; sending to a process-specific channel that does
//     not exist is [ErrChannelGone].
//  10. Failure. Every call returns promptly when ctx ends, and within the
//     layer's own timeout otherwise. Every error of Send and GroupSend matches
//     exactly one of [ErrNotSent] and [ErrMaybeSent]; a ctx error stays
//     recognisable beside it. After an outage the layer recovers by itself.
//  11. Close. It may be called again, refuses new calls, waits for writes
//     under way up to the timeout, wakes every receiver with [ErrClosed], and
//     leaves no goroutine, no connection, and no key at the broker that does
//     not expire.
//  12. Nothing is lost in silence. While the process lives, every message it
//     gives up is counted by [DropReason] and reported. What may have been
//     lost with a connection, a broker or a process is a gap with bounds in
//     time, reported after memberships are restored, and never without cause.
//  13. Concurrency. All methods may be called concurrently.
//
// # Decorators
//
// A layer that wraps another may have a method `Unwrap() Layer`: then
// [ReceiveBatch], [Release], [Flush], [Ping] and [ReadStats] find what the
// inner one can do. They go past the wrapper, so one that changes what Receive
// does must have a ReceiveBatch of its own.
//
// # Limits of use
//
// Delivery is at most once and messages expire: a layer is for live events,
// never for data that must survive. A bus is one trust domain: whoever may
// write to it may send to anyone on it. A key prefix separates buses; it does
// not protect them.
//
// The words and the shape of the contract follow the channel layer
// specification of Django Channels
// (https://channels.readthedocs.io/en/latest/channel_layer_spec.html), which
// leaves more of it open.
package layer
