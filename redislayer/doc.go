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
// as one entry, up to 256 of them or 64 KiB.
//
// A normal channel is a queue at Redis. A process tells Redis how many of its
// receivers wait, and is given just as many messages, oldest first, by way of
// its inbox. No connection waits for a normal channel, so there may be
// thousands.
//
// # Connections
//
// A layer has two connections: one that writes, one that reads the inbox. They
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
// inbox was lost. A reader hears from Redis at least once a second, so one
// that is connected but deaf is found, and connects anew.
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
// On a Cluster the prefix becomes a hash tag: all keys of a bus are in one
// slot, and so on one master at a time, wherever the slot goes. That keeps a
// group send one script; it does not spread one bus over several masters. Use
// several prefixes for several buses.
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
