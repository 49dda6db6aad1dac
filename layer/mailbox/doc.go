// Package mailbox keeps the unread messages of channels, by channel name, and
// hands them to the receivers that wait for them. It is what a backend needs
// inside one process: memlayer is this and package groups; a backend with a
// broker puts what arrives for its process into a [Set], and lets the
// application receive from it.
//
// # Usage
//
// A process-specific channel (its name has a '!') exists from [Set.Open] to
// [Set.Release]. Putting on one that does not exist, or receiving from it, is
// [layer.ErrChannelGone]. A normal channel needs no Open: it is there while it
// holds messages or receivers, and for a while after.
//
// Names are checked where a channel is not known yet, and nowhere else: a
// backend need not check those that it passes to Put, Receive or Open.
//
// A group send puts one message on many channels with a [Fan]. Where a backend
// reads several messages for the same channels at a time, [Set.FanAll] puts them
// there together: a receiver that waits is woken once for all. A backend whose
// broker stores nothing keeps messages of normal channels in the Set of whoever
// sent them, and passes them on when a process asks ([Set.Take]).
//
// # Order
//
// A channel is a first-in, first-out queue. Put hands a message to the receiver
// that has waited longest, or queues it if none waits. A message is handed over
// once and never put back, so what one goroutine puts, one receiver gets in
// that order, also while other receivers come and give up. What a backend took
// to pass it on, and could not, returns to the head ([Set.Return]).
//
// # Capacity
//
// A channel holds as many unread messages as [layer.Limits] allow, by its name
// and from when it was opened or first used. Put on a full one returns
// [layer.ErrChannelFull] at once. The message is the caller's then, and so is
// counting it: the Set does not. One place beyond the capacity is kept in each
// process-specific channel for a notice ([Set.Notify]).
//
// # Expiry and abandonment
//
// A message is never received once [layer.Limits].Expiry has passed since Put,
// or since the broker accepted it ([Set.PutAged]). That is checked when it is
// taken, on the monotonic clock. A message handed to a waiting receiver is
// received at that moment.
//
// Expired messages take no room, with one exception: they leave from the head
// of the queue, so a message that came with an age takes its place as long as
// a younger one is in front of it.
//
// A process-specific channel is abandoned when nobody has called Receive for
// the whole of Expiry since a message was put there: that message has expired
// unasked for. Then all its unread messages are dropped as expired, the channel
// is gone as if it had been released, and the observer is told. An idle channel
// without messages is never abandoned, nor is a normal one, nor one that only
// gets messages too old already when they come.
//
// One goroutine finds what nobody looks at, at intervals of a quarter of Expiry,
// a second at most: so much later are expired messages counted and abandoned
// channels reported. It visits only channels that hold messages or were used
// lately, and sleeps when there are none.
//
// # Cancellation
//
// A Receive whose ctx ends takes nothing. If a message is being handed to it at
// that moment, it returns that message and no error. A ctx that is done
// already is reported even where a message waits, and does not count as asking.
//
// # Concurrency
//
// Any method may be called from any goroutine. Channels are spread over 128
// locks, each held for some tens of nanoseconds, never while the observer is
// called. Put does not block.
//
// A Set is bound to the [testing/synctest] bubble in which New was called: make
// one in each bubble.
//
// # Cost
//
// Measured on an AMD EPYC with two cores and Go 1.26. Of what Put and Receive
// take, the two readings of the clock are half. A [Fan] reads it once for many
// puts, and with a [Ref] it does not look for the channel by name: a group send
// takes half as long. bench/README.md has the figures, beside those of a mutex, a
// map and Go channels. None of it allocates, once the channel has been used.
//
// There is no goroutine, timer or ring for an idle channel: each of a million
// costs 130 bytes besides its name. A ring of 16 bytes a message, as many as were
// unread at once, is held while a channel is in use and for up to two intervals
// of the sweeper after. After a million channels were released, nothing worth
// mentioning of their 130 MB remains.
package mailbox
