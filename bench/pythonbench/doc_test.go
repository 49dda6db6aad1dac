//go:build unix

// Package pythonbench measures channelsredis against the Python package whose
// wire it speaks, and the two mixed, on one real redis-server, between
// operating system processes. README.md says how to run it and what the rows
// mean.
//
// The benchmark's own process sends nothing. It starts workers and tells them
// what to do in lines of JSON. A worker in Go is this test binary again
// (worker_test.go), one in Python is worker.py; they understand the same
// commands and do the same work: members that receive, each in a goroutine or
// task, and senders. So that nothing is lost, senders stay within a window
// ahead of the slowest member, which they see in a page of memory that the
// processes share (window_test.go).
package pythonbench
