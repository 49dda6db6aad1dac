// Package process is the half of a backend that stays within its process, which
// is much the same whatever the broker: names and life of channels, receiving,
// local members of groups and what is delivered to them, what is counted, and
// what happens after a gap. What remains is the broker's: how messages travel.
//
// It puts packages mailbox and groups together, which do the work, and keeps
// them at hand for all else.
//
// # Usage
//
// Make a [Process] with [New] in your constructor, keep it in your layer, and
// let NewChannel, Receive, ReceiveBatch, Release and Stats call the methods of
// that name. Begin each other method with [Process.Check]. Then
//
//   - Send puts a message for a channel of this process ([Process.Owns]) into
//     its mailbox, sends another one to the process [Of] the channel, and tells
//     [Process.CountSend];
//   - GroupAdd and GroupDiscard of a channel of this process are
//     [Process.Join] and [Process.Leave], and telling the broker about the
//     group where that is needed;
//   - GroupSend is [Process.Deliver], and sending to the other processes;
//   - what arrives from them goes through [Process.Accept] to [Process.Put] or
//     Deliver;
//   - [Process.Gap] reports that a connection was lost, and [Process.Drop]
//     messages that the backend gives up itself;
//   - Close begins with [Process.BeginClose] and ends with [Process.Close].
//
// Normal channels are the broker's, if it has queues. A Process can hold them,
// too: in the mailboxes they are channels like others. On a broker that keeps
// nothing, package exchange brings them from process to process.
//
// The example shows the two sends; layertest/testdata/outside is a whole backend.
//
// # Telling the broker about groups
//
// A process wants what is sent to a group while it has members there. Whoever
// changes members looks at the state and makes the broker agree with it:
//
//	lock
//	if process.Groups().Len(group) > 0 { register } else { unregister }
//	unlock
//
// after Join, after Leave reported the last member, and for each group that
// Options.Emptied is told. Since each of them looks after its change, the last
// one to have the lock leaves it right, in whatever order they come. After an
// outage, Groups().All gives the groups to register again.
//
// # Concurrency
//
// All methods may be called concurrently, and none but Receive, ReceiveBatch
// and Close waits. A Process is bound to the testing/synctest bubble in which
// New was called.
package process
