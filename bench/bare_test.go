package bench

import (
	"context"
	"strconv"
	"sync"

	"github.com/channellayer/channellayer/layer"
)

// bare is the least that a program would write instead of a channel layer: a
// mutex, a map from name to a buffered Go channel, select with default. It
// has no expiry, no counters, no errors and no names to check, and keeps a
// full ring for every channel. A group is a slice of Go channels, which nobody
// can leave.
type bare struct {
	mu       sync.Mutex
	next     int
	channels map[string]chan layer.Message
	groups   map[string][]chan layer.Message
}

func newBare() *bare {
	return &bare{channels: map[string]chan layer.Message{}, groups: map[string][]chan layer.Message{}}
}

func (b *bare) newChannel() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.next++
	name := "specific.0123456789abcdefghijklmnop!" + strconv.Itoa(b.next)
	b.channels[name] = make(chan layer.Message, layer.DefaultCapacity)
	return name
}

func (b *bare) channel(name string) chan layer.Message {
	b.mu.Lock()
	c := b.channels[name]
	b.mu.Unlock()
	return c
}

func (b *bare) send(_ context.Context, name string, msg layer.Message) bool {
	select {
	case b.channel(name) <- msg:
		return true
	default:
		return false
	}
}

// receive has a plain receive, which is cheaper than a select, for a ctx that
// cannot end: nobody who has no ctx would write more.
func (b *bare) receive(ctx context.Context, name string) (layer.Message, bool) {
	c := b.channel(name)
	if ctx.Done() == nil {
		return <-c, true
	}
	select {
	case msg := <-c:
		return msg, true
	case <-ctx.Done():
		return layer.Message{}, false
	}
}

func (b *bare) groupAdd(group, name string) {
	b.mu.Lock()
	b.groups[group] = append(b.groups[group], b.channels[name])
	b.mu.Unlock()
}

func (b *bare) groupSend(_ context.Context, group string, msg layer.Message) {
	b.mu.Lock()
	members := b.groups[group] // only appended to, so it can be walked unlocked
	b.mu.Unlock()
	for _, c := range members {
		select {
		case c <- msg:
		default:
		}
	}
}
