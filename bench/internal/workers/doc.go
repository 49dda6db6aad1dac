// Package workers runs a benchmark's work in operating system processes of
// their own. The benchmark starts them and tells them what to do in lines of
// JSON, a [Process] one command at a time; a worker in Go is the test binary
// again, whose TestMain begins with [Main].
package workers
