//go:build !race

package channelsredis_test

const underRace = false
