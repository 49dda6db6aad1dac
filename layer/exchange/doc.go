// Package exchange carries normal channels over a broker that keeps nothing: one
// that brings a message to one of those who listen at that moment, and drops it
// if nobody does, as plain NATS, MQTT and most message buses do. (A broker with
// queues needs none of this.)
//
// Messages wait in the mailbox of the process that sent them. For each channel,
// two sets of processes find each other through the broker:
//
//   - [Holders], which hold unread messages. A process in which receivers wait
//     asks; one of the holders is asked, and answers with a message, or that it
//     has none.
//   - [Readers], in which receivers wait. Whoever has put a message into its
//     mailbox offers it, and one of the readers is told, which then asks.
//
// A process joins its set before it asks or offers, so whichever of the two
// comes to the broker first, the other finds it. What is lost on the way, or in
// a crowd (offers of several holders that meet at one reader count as one), is
// made good by [Exchange.Heal].
//
// # What holds, and what does not
//
// A message is taken out of its holder's mailbox before it is sent, so it is
// with one process at a time and delivered at most once; lost on the way, it is
// lost. It goes only to where a receiver waited: one that gave up meanwhile
// leaves it in the mailbox there, from which it is offered on. Expiry is exact.
// Capacity is for each holder, and messages of a process that ends are lost, and
// counted there. A reader sees the messages of one sender in order, as long as
// nothing is lost; those of several in any order.
//
// # Usage
//
// Make an [Exchange] of the layer's [process.Process] and your [Broker]. Let
// Send and Receive on normal channels call [Exchange.Send] and
// [Exchange.Receive], report what comes through the broker to
// [Exchange.Asked], [Exchange.Offered], [Exchange.Arrived] and
// [Exchange.NotHeld], and call [Exchange.Heal] about once a second.
// examples/natslayer does, with two NATS queue groups for each channel.
package exchange
