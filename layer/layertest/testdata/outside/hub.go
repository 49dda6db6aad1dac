package hublayer

import (
	"context"
	"crypto/rand"
	"strings"
	"sync"

	"github.com/channellayer/channellayer/layer"
)

// Hub joins processes to a bus. It holds the normal channels, as a broker
// would, and knows which process holds which others.
type Hub struct {
	normal *place

	mu     sync.RWMutex
	joined map[string]*place // by client
}

// NewHub makes a bus without processes. The observer is told of messages on
// normal channels.
func NewHub(limits layer.Limits, observer layer.Observer) (*Hub, error) {
	normal, err := newPlace(limits, observer)
	return &Hub{normal: normal, joined: map[string]*place{}}, err
}

// Close ends the bus. Close its layers first.
func (h *Hub) Close() { h.normal.queues.Close() }

// Join makes a process on the bus.
func (h *Hub) Join(limits layer.Limits, observer layer.Observer) (*Layer, error) {
	limits, err := limits.WithDefaults()
	if err != nil {
		return nil, err
	}
	own, err := newPlace(limits, observer)
	if err != nil {
		return nil, err
	}
	l := &Layer{hub: h, own: own, limits: limits, client: "." + rand.Text() + "!"}
	l.closed, l.end = context.WithCancel(context.Background())
	h.mu.Lock()
	defer h.mu.Unlock()
	h.joined[l.client] = own
	return l, nil
}

func (h *Hub) leave(l *Layer) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.joined, l.client)
}

// place returns where a channel is, or nil if its process is not there.
func (h *Hub) place(channel string) *place {
	if !layer.IsProcessSpecific(channel) {
		return h.normal
	}
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.joined[clientOf(channel)]
}

func (h *Hub) places() []*place {
	h.mu.RLock()
	defer h.mu.RUnlock()
	all := []*place{h.normal}
	for _, p := range h.joined {
		all = append(all, p)
	}
	return all
}

// clientOf returns the part of a name that says which process made it.
func clientOf(channel string) string {
	prefix := layer.ClientPrefix(channel)
	return prefix[max(0, strings.LastIndexByte(prefix, '.')):]
}
