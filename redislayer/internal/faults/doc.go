// Package faults is the fault suite of redislayer: it does to Redis, to the
// network and to processes what happens to them in production, while numbered
// messages flow, and accounts for every one of them.
//
// # What runs
//
// A fleet is three processes of the operating system (the test binary started
// again), each with a layer on one bus. Between them they have 8 senders, 8
// channels that messages are sent to, 200 members of 4 groups (the 8 channels
// are in the first group as well), and two normal channels on which all three
// compete. Every sender numbers all that it sends, to whatever destination, so
// a channel must see the numbers of one sender grow. Each process reaches Redis
// by a fault proxy of its own, and the nodes of a Cluster, where the fault is the
// network's, by one for each.
//
// # What is checked
//
// At least 240 messages are sent in a second while there is no fault: the time
// before each one is what the table gives the rate of.
//
// At the end the accountant ([History.Account]) compares what was sent with
// what was received: no duplicate, no inversion, nothing on a channel that it
// was not meant for, nothing that was never sent or whose send said that it was
// not sent. Every message that was sent and is missing must be explained by a
// counted drop, or by a gap that its process reported and that contains the
// time of the send; every gap must overlap a fault. Sends between two channels
// of one process may never fail. After Close, each process must be back at the
// goroutines it began with, and Redis at its connections and keys.
//
// # Running it
//
// The short version, in which each fault strikes a few times, is part of
//
//	go test -race ./redislayer/internal/faults
//
// The long one goes on for as long as told, an equal part of it for each fault,
// and before that sends 1,000,000 messages without any:
//
//	go test ./redislayer/internal/faults -faults.soak 20m -timeout 60m -v
//
// Both end, with -v, with a table: one row for each fault. A test is also
// repeated for single faults, by name: -run 'TestFaults/all/reader-cut'.
package faults
