// Package layertest is the conformance suite of the contract in package layer.
package layertest
