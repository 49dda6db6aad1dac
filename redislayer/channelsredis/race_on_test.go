//go:build race

package channelsredis_test

// underRace says that the race detector is on, with which everything takes
// several times as long.
const underRace = true
