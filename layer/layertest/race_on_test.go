//go:build race

package layertest

// underRace says that the race detector is on, which makes everything take
// about ten times as long.
const underRace = true
