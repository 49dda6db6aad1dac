//go:build race

package redislayer_test

// underRace says that the race detector is on, with which everything takes
// several times as long.
const underRace = true
