// Package redislayer is the channel layer over Redis: processes on one or many
// machines share a bus through it.
//
//	bus, err := redislayer.Open(ctx, "redis://127.0.0.1:6379", redislayer.Options{})
//
// It needs Redis 6.2 or newer, or Valkey: a single server, one found by
// Sentinel, or a Cluster.
//
// # How it works
//
// Each process owns one inbox at Redis, a stream. A message to a channel of
// another process is one entry in that process's inbox; to a channel of the
// same process it never leaves it. A group at Redis is a set of the processes
// that have members in it, not of the members: which of its channels belong to
// the group, each process knows by itself. So a message to a group costs one
// round trip and one entry for each process, whatever the number of members.
//
// What many goroutines send at the same time leaves together: while a round
// trip is under way the next one fills. Messages that go to one inbox travel
// as one entry, up to 256 of them or 64 KiB; messages to different groups leave
// in one script, which packs those for one process likewise. Who sends alone
// makes the round trip in its own goroutine.
//
// Where entries come one close upon the other, more than about 2,500 a second,
// the reader may wait up to 1 ms before it reads on, so that a read brings
// several. It does so only for as long as messages come no slower for it; when
// they are answers to what was received before, it reads at once.
//
// A normal channel is a queue at Redis. A process tells Redis how many of its
// receivers wait, and is given just as many messages, oldest first, by way of
// its inbox. No connection waits for a normal channel, so there may be
// thousands.
//
// # Connections
//
// A layer has two connections: one that writes, one that reads the inbox; on a
// Cluster it has one more to each master. They
// are made with the settings of the client that [New] is given.
//
// # Delivery and failure
//
// Nothing is ever sent twice: an operation whose outcome is unknown ends with
// [layer.ErrMaybeSent]. If Redis runs it later all the same, after a message
// that was sent since, the receiving process drops it ([layer.DropLate]).
// Reading the inbox consumes nothing, so a broken connection loses nothing: it
// is read again from the last entry that was handed over, and no entry is
// handed over twice.
//
// While Redis is away, calls that need it fail with [layer.ErrUnavailable] and
// [layer.ErrNotSent] at once; messages between channels of one process, and to
// the members of a group in it, go on. When Redis is back, the layer makes
// certain that its inbox, its groups and its waiting receivers are known there,
// and then, if something may have been lost, reports a gap
// ([layer.Observer].Gap): when Redis was restarted or replaced, and when the
// inbox was lost. The gap holds what was on its way to the process, and what
// waited on normal channels from which it received within Limits.Expiry: it
// begins no later than when the last message received there was sent. A reader
// hears from Redis at least once a second, so one that is connected but deaf is
// found, and connects anew.
//
// # The lease
//
// The inbox outlives its process by Options.Lease at most; a heartbeat renews
// it three times in that time. A process that ends without Close costs the
// groups it was in one failed write each, which removes it. A process that
// sleeps for longer than its lease loses its inbox, finds that out when it
// wakes, and reports a gap.
//
// # Redis Cluster
//
// On a Cluster every inbox, every group and every normal channel is at a slot
// of its own, so that one bus is spread over all masters. The promises are the
// same; what differs is how they are kept:
//
//   - A layer has, besides its two connections to the node of its inbox, one to
//     each master, by which it sends. What waits for one node leaves together.
//   - A message to a group takes two round trips: who is in the group is read
//     at its node, then the message goes to the inboxes of these processes, at
//     all their nodes at the same time. Senders that wait together share both.
//   - A message of a normal channel is set aside, at the queue's node, for the
//     process that waits longest. That is woken by way of its inbox, and
//     fetches the message. A fetch is repeated until it is answered, and is
//     answered in the same way again, so that a reply that is lost loses
//     nothing. If a process ends without Close after a fetch, what it had
//     fetched and not handed over is lost, as with an inbox.
//   - A command that a server refuses because its slot has moved, or is moving,
//     was certainly not run, and is sent again to the node that has it now. A
//     slot that is moved loses nothing and is no gap. While one is half-way,
//     what needs several keys of which some do not exist is refused by Redis,
//     and waits for up to Options.Timeout. A process whose inbox has been moved
//     there already is sent there (ASK), follows, and goes on.
//
// When a master fails, what concerns its slots fails until a replica has been
// promoted; the rest goes on. Then the memberships there are written again, and
// a gap is reported by the processes whose inbox was there, or that found their
// entry in a group lost.
//
// # Encryption
//
// With Options.EncryptionKeys all that goes by way of Redis is encrypted with
// AES-256-GCM, and nothing else is let through. Without, a bus is one trust
// domain: whoever may write to the server may send to anyone. The prefix
// separates buses; it does not protect them.
//
// # Running it
//
// OPERATIONS.md beside the source says what persistence, replicas and eviction
// policies do to a bus, what it takes of memory, which ACL rights the layer
// needs, and what each counter, each gap and each error tells. In short: give
// the bus a Redis of its own with maxmemory-policy noeviction, and persist
// nothing. WIRE.md says what is at Redis, byte by byte.
package redislayer
