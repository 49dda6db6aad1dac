package layertest

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/channellayer/channellayer/layer"
)

// bus joins several layers in memory into what the suite sees as processes: it
// is the good layer that the broken ones are made from. Each process has a
// layer for its own channels, and all share one for the normal channels.
type bus struct {
	normal layer.Layer

	mu        sync.Mutex
	processes []*process          // that are not closed
	owners    map[string]*process // by client prefix, also when closed
}

// process is one process on a bus.
type process struct {
	bus    *bus
	own    layer.Layer
	first  bool            // whether it counts what becomes of normal channels
	closed context.Context // ends with Close
	end    context.CancelFunc

	sent, groupSent, received atomic.Uint64
}

// newMemory makes a layer of package memlayer.
var newMemory = memory().New

func newBus(tb testing.TB, config Config) *process {
	b := &bus{normal: newMemory(tb, config), owners: map[string]*process{}}
	p := b.join(tb, config)
	p.first = true
	return p
}

func (b *bus) join(tb testing.TB, config Config) *process {
	p := &process{bus: b, own: newMemory(tb, config)}
	p.closed, p.end = context.WithCancel(context.Background())
	b.mu.Lock()
	defer b.mu.Unlock()
	b.processes = append(b.processes, p)
	return p
}

func (b *bus) all() []*process {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.processes)
}

// place returns the layer that the channel is in.
func (p *process) place(channel string) layer.Layer {
	if layer.ValidateChannel(channel) != nil {
		return p.own // which says what is wrong
	}
	if !layer.IsProcessSpecific(channel) {
		return p.bus.normal
	}
	p.bus.mu.Lock()
	defer p.bus.mu.Unlock()
	if owner := p.bus.owners[layer.ClientPrefix(channel)]; owner != nil {
		return owner.own
	}
	return p.own
}

// at calls f with the layer that the channel is in.
func (p *process) at(channel string, f func(layer.Layer) error) error {
	if p.closed.Err() != nil {
		return layer.ErrClosed
	}
	place := p.place(channel)
	err := f(place)
	if place != p.own && errors.Is(err, layer.ErrClosed) && p.closed.Err() == nil {
		return layer.ErrChannelGone // its process was closed
	}
	return err
}

func (p *process) NewChannel(ctx context.Context, prefix string) (string, error) {
	name, err := p.own.NewChannel(ctx, prefix)
	if err == nil {
		p.bus.mu.Lock()
		defer p.bus.mu.Unlock()
		p.bus.owners[layer.ClientPrefix(name)] = p
	}
	return name, err
}

func (p *process) Send(ctx context.Context, channel string, msg layer.Message) error {
	err := p.at(channel, func(l layer.Layer) error { return l.Send(ctx, channel, msg) })
	if err == nil {
		p.sent.Add(1)
	}
	return layer.NotSent(err)
}

func (p *process) Receive(ctx context.Context, channel string) (layer.Message, error) {
	buf := make([]layer.Message, 1)
	_, err := p.ReceiveBatch(ctx, channel, buf)
	return buf[0], err
}

func (p *process) ReceiveBatch(ctx context.Context, channel string, buf []layer.Message) (int, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	l := p.own
	if p.place(channel) == p.bus.normal {
		l = p.bus.normal
	}
	either, cancel := context.WithCancel(ctx) // ends with ctx and with Close
	defer cancel()
	defer context.AfterFunc(p.closed, cancel)()
	n, err := layer.ReceiveBatch(either, l, channel, buf)
	p.received.Add(uint64(n))
	if err != nil && ctx.Err() == nil && p.closed.Err() != nil {
		return 0, layer.ErrClosed
	}
	if err != nil && ctx.Err() != nil {
		return 0, ctx.Err()
	}
	return n, err
}

func (p *process) GroupAdd(ctx context.Context, group, channel string) error {
	return p.at(channel, func(l layer.Layer) error { return l.GroupAdd(ctx, group, channel) })
}

func (p *process) GroupDiscard(ctx context.Context, group, channel string) error {
	return p.at(channel, func(l layer.Layer) error { return l.GroupDiscard(ctx, group, channel) })
}

func (p *process) GroupSend(ctx context.Context, group string, msg layer.Message) error {
	if err := p.own.GroupSend(ctx, group, msg); err != nil {
		return err
	}
	p.groupSent.Add(1)
	p.bus.normal.GroupSend(ctx, group, msg)
	for _, other := range p.bus.all() {
		if other != p {
			other.own.GroupSend(ctx, group, msg)
		}
	}
	return nil
}

func (p *process) Release(ctx context.Context, channel string) error {
	return layer.Release(ctx, p.own, channel)
}

func (p *process) Flush(ctx context.Context) error {
	for _, other := range p.bus.all() {
		layer.Flush(ctx, other.own)
	}
	layer.Flush(ctx, p.bus.normal)
	return layer.Flush(ctx, p.own) // says whether ctx is done, or the layer closed
}

func (p *process) Ping(ctx context.Context) error { return layer.Ping(ctx, p.own) }

func (p *process) Stats() layer.Stats {
	stats, _ := layer.ReadStats(p.own)
	stats.Sent, stats.GroupSent, stats.Received = p.sent.Load(), p.groupSent.Load(), p.received.Load()
	if p.first {
		normal, _ := layer.ReadStats(p.bus.normal)
		for reason, n := range normal.Dropped {
			stats.Dropped[reason] += n
		}
	}
	return stats
}

func (p *process) Close() error {
	p.end()
	err := p.own.Close()
	p.bus.mu.Lock()
	p.bus.processes = slices.DeleteFunc(p.bus.processes, func(q *process) bool { return q == p })
	last := len(p.bus.processes) == 0
	p.bus.mu.Unlock()
	if last {
		p.bus.normal.Close()
	}
	return err
}
