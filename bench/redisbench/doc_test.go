//go:build unix

// Package redisbench measures redislayer against Redis pub/sub by go-redis and
// by rueidis, on one real redis-server, between operating system processes.
// README.md says how to run it and what the rows mean.
//
// The benchmark's own process sends nothing. It starts workers, which are this
// test binary again (package workers, worker_test.go), and tells them what to do
// in lines of JSON. A worker has one bus or several (bus_test.go), members that
// receive, each in a goroutine, and senders. Senders and members agree on how
// far the senders may be ahead by a page of shared memory (window_test.go), so
// that no side loses anything, and no side pays for more than an atomic add.
package redisbench

import "time"

// roundTime is for how long senders send in one operation of most benchmarks.
const roundTime = 300 * time.Millisecond

// warmUpTime is for how long they send before anything is measured.
const warmUpTime = 50 * time.Millisecond

// The busses, in the order in which they are run.
const (
	redisLayer = "redislayer"
	goRedis    = "goredis"
	rueidisBus = "rueidis"
)
