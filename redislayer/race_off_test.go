//go:build !race

package redislayer_test

const underRace = false
