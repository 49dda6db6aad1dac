package hublayer

import (
	"sync"

	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/layer/process"
)

// Hub joins processes to a bus. It holds the normal channels, as a broker
// would, and knows the processes, which hold the others.
type Hub struct {
	normal *process.Process

	mu     sync.RWMutex
	joined map[string]*process.Process // by name
}

// NewHub makes a bus without processes. The observer is told of messages on
// normal channels.
func NewHub(limits layer.Limits, observer layer.Observer) (*Hub, error) {
	normal, err := process.New(process.Options{Limits: limits, Observer: observer})
	return &Hub{normal: normal, joined: map[string]*process.Process{}}, err
}

// Close ends the bus. Close its layers first.
func (h *Hub) Close() { h.normal.Close() }

// Join makes a process on the bus.
func (h *Hub) Join(limits layer.Limits, observer layer.Observer) (*Layer, error) {
	own, err := process.New(process.Options{Limits: limits, Observer: observer})
	if err != nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.joined[own.Name()] = own
	return newLayer(h, own), nil
}

func (h *Hub) leave(p *process.Process) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.joined, p.Name())
}

// place returns where a channel is, or nil if its process is not there.
func (h *Hub) place(channel string) *process.Process {
	if !layer.IsProcessSpecific(channel) {
		return h.normal
	}
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.joined[process.Of(channel)]
}

func (h *Hub) places() []*process.Process {
	h.mu.RLock()
	defer h.mu.RUnlock()
	all := []*process.Process{h.normal}
	for _, p := range h.joined {
		all = append(all, p)
	}
	return all
}
