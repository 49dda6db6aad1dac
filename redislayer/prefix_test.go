package redislayer_test

import (
	"sync"

	"github.com/channellayer/channellayer/layer"
)

// prefixOf remembers which bus a layer is on.
type prefixOf struct {
	mu sync.Mutex
	m  map[layer.Layer]string
}

func (p *prefixOf) set(l layer.Layer, prefix string) {
	p.mu.Lock()
	p.m[l] = prefix
	p.mu.Unlock()
}

func (p *prefixOf) get(l layer.Layer) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.m[l]
}
