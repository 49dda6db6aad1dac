package exchange_test

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/layer/exchange"
	"github.com/channellayer/channellayer/layer/process"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// bus is a broker that keeps nothing: a goroutine that does in order what comes
// to it.
type bus struct {
	mu      sync.Mutex
	come    sync.Cond
	events  []func()
	ended   bool
	running sync.WaitGroup

	// Of the goroutine.
	members map[role][]*node
	deaf    bool // loses everything but Join and Leave
}

type role struct {
	exchange.Role
	channel string
}

// node is a process on the bus. It implements exchange.Broker.
type node struct {
	*process.Process
	*exchange.Exchange
	bus  *bus
	away atomic.Bool // refuses what is sent
}

func newBus(tb testing.TB) *bus {
	b := &bus{members: map[role][]*node{}}
	b.come.L = &b.mu
	b.running.Go(b.run)
	tb.Cleanup(b.end)
	return b
}

func (b *bus) end() {
	b.mu.Lock()
	b.ended = true
	b.come.Signal()
	b.mu.Unlock()
	b.running.Wait()
}

func (b *bus) run() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for {
		for len(b.events) == 0 {
			if b.ended {
				return
			}
			b.come.Wait()
		}
		event := b.events[0]
		b.events = b.events[1:]
		b.mu.Unlock()
		event()
		b.mu.Lock()
	}
}

func (b *bus) do(event func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.events = append(b.events, event)
	b.come.Signal()
}

// pick returns one of the members other than n, or nil.
func (b *bus) pick(r role, n *node) *node {
	others := slices.DeleteFunc(slices.Clone(b.members[r]), func(m *node) bool { return m == n })
	if len(others) == 0 {
		return nil
	}
	return others[rand.IntN(len(others))]
}

// node makes a process on the bus, which is closed with the test.
func (b *bus) node(tb testing.TB, limits layer.Limits) *node {
	tb.Helper()
	p, err := process.New(process.Options{Limits: limits})
	require.NoError(tb, err)
	n := &node{Process: p, bus: b}
	n.Exchange = exchange.New(p, n)
	tb.Cleanup(p.Close)
	return n
}

func (n *node) Join(r exchange.Role, channel string) error {
	n.bus.do(func() { n.bus.members[role{r, channel}] = append(n.bus.members[role{r, channel}], n) })
	return nil
}

func (n *node) Leave(r exchange.Role, channel string) {
	n.bus.do(func() {
		members := n.bus.members[role{r, channel}]
		i := slices.Index(members, n)
		n.bus.members[role{r, channel}] = slices.Delete(members, i, i+1) // panics if Join and Leave do not alternate
	})
}

func (n *node) Ask(channel string) error {
	if n.away.Load() {
		return layer.ErrUnavailable
	}
	n.bus.do(func() {
		holder := n.bus.pick(role{exchange.Holders, channel}, n)
		switch {
		case n.bus.deaf:
		case holder == nil:
			n.NotHeld(channel, false)
		case !holder.Asked(channel, func(msg layer.Message, age time.Duration) error {
			if holder.away.Load() {
				return layer.ErrUnavailable
			}
			n.bus.do(func() { n.Arrived(channel, msg, age) })
			return nil
		}):
			n.bus.do(func() { n.NotHeld(channel, true) })
		}
	})
	return nil
}

func (n *node) Offer(channel string) error {
	n.bus.do(func() {
		if reader := n.bus.pick(role{exchange.Readers, channel}, n); reader != nil && !n.bus.deaf {
			reader.Offered(channel)
		}
	})
	return nil
}

// receive is Receive without a buffer.
func (n *node) receive(ctx context.Context, channel string) (layer.Message, error) {
	var buf [1]layer.Message
	_, err := n.Exchange.Receive(ctx, channel, buf[:])
	return buf[0], err
}

func numbered(n int) layer.Message { return layer.NewMessage(map[string]any{"n": n}) }
