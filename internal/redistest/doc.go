// Package redistest starts real Redis servers for tests: one ([Start]), a master
// and a replica under three sentinels ([StartSentinel]), or a cluster
// ([StartCluster]). They listen on loopback, keep their files in a temporary
// directory, and can be killed, paused, and restarted with or without their
// data.
//
//	server := redistest.Start(t, redistest.Config{AOF: true})
//	client := server.Client(t)
//	...
//	server.Kill()
//	server.Restart(t)
//
// A test that needs a program which is not installed is skipped; see package
// testneed.
//
// # What is left behind
//
// Nothing. When the test ends, its servers are killed, awaited, and their
// directory removed; if it failed, the end of each server's log is printed
// first. The same happens when the test process dies without running its
// cleanups: when it is killed, exits early, or panics as `go test` makes it do
// at its -timeout. A small shell process, the janitor, does both; see janitor
// in sandbox.go.
//
// # Ports
//
// Ports are drawn from below the range that the system gives to outgoing
// connections. Otherwise, while a server is down, another program's connection
// could take its port; or a client that dials again and again could be given
// that very port for its own end, and so connect to itself.
//
// # Concurrency
//
// Methods may be called from several goroutines, but those that take a
// testing.TB only from the goroutine of that test, because they may end it.
package redistest
