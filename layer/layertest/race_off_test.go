//go:build !race

package layertest

const underRace = false
