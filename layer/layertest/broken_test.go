package layertest

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/channellayer/channellayer/layer"
)

// The files broken_*_test.go hold layers with one fault each, and proof_test.go
// shows that the suite sees every one of them. A check that sees none is not
// worth having; a fault that no check sees is one that the suite lets through.
//
// A broken layer is a good one with the methods replaced that the fault is in.
// Where the fault is a wrong bound, it is a good layer with a wrong bound.

// broken describes one broken layer.
type broken struct {
	name string // what it does wrong

	// wrap makes it.
	wrap func(m *making) layer.Layer

	// must are the checks that have to fail on it, may those that are allowed
	// to: because they meet the fault by chance, or on the way to what they are
	// about. Both are patterns for the names of checks, as path.Match has them.
	must, may []string

	// peers says that the fault is between processes.
	peers bool
}

// making is what a broken layer is made from.
type making struct {
	tb testing.TB
	Config
	make func(Config) layer.Layer
	stop context.Context // ends when the check does
}

// good makes the good layer.
func (m *making) good() layer.Layer { return m.make(m.Config) }

// withLimits makes the good layer, with limits that f may change first: they
// have their defaults.
func (m *making) withLimits(f func(*layer.Limits)) layer.Layer {
	config := m.Config
	config.Limits = m.known()
	f(&config.Limits)
	return m.make(config)
}

// withObserver makes the good layer with an observer that f may change first.
func (m *making) withObserver(f func(*layer.Observer)) layer.Layer {
	config := m.Config
	f(&config.Observer)
	return m.make(config)
}

// known returns the limits with their defaults.
func (m *making) known() layer.Limits {
	limits, err := m.Limits.WithDefaults()
	if err != nil {
		m.tb.Fatalf("limits of a check: %v", err)
	}
	return limits
}

func (m *making) dropped(reason layer.DropReason, name string, count int) {
	if m.Observer.Dropped != nil {
		m.Observer.Dropped(reason, name, count)
	}
}

func (m *making) abandoned(channel string) {
	if m.Observer.Abandoned != nil {
		m.Observer.Abandoned(channel)
	}
}

// forEver is as long as a broken layer hangs at most, so that a check which
// waits for it by itself ends, too. In a synctest bubble it takes no time.
const forEver = 24 * time.Hour

// deaf returns a context that does not end when ctx does, but for ever is over
// one day, and when the check is done.
func (m *making) deaf(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), forEver)
	unlink := context.AfterFunc(m.stop, cancel)
	return ctx, func() { unlink(); cancel() }
}

// hang waits for ctx as a layer does that hears of nothing else.
func (m *making) hang(ctx context.Context) error {
	over := time.NewTimer(forEver)
	defer over.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-m.stop.Done():
		return layer.ErrClosed
	case <-over.C:
		return context.DeadlineExceeded
	}
}

// pause takes a few seconds, unless the check ends.
func (m *making) pause() {
	ctx, cancel := context.WithTimeout(m.stop, 5*time.Second)
	defer cancel()
	<-ctx.Done()
}

// hooked is a good layer with some methods replaced: those whose hook is set.
// It unwraps to the good layer, for the optional interfaces.
type hooked struct {
	layer.Layer
	newChannel   func(ctx context.Context, prefix string) (string, error)
	send         func(ctx context.Context, channel string, msg layer.Message) error
	receive      func(ctx context.Context, channel string) (layer.Message, error)
	batch        func(ctx context.Context, channel string, buf []layer.Message) (int, error)
	groupAdd     func(ctx context.Context, group, channel string) error
	groupDiscard func(ctx context.Context, group, channel string) error
	groupSend    func(ctx context.Context, group string, msg layer.Message) error
	release      func(ctx context.Context, channel string) error
	flush        func(ctx context.Context) error
	ping         func(ctx context.Context) error
	stats        func() layer.Stats
	close        func() error
}

func (h *hooked) NewChannel(ctx context.Context, prefix string) (string, error) {
	return or(h.newChannel, h.Layer.NewChannel)(ctx, prefix)
}

func (h *hooked) Send(ctx context.Context, channel string, msg layer.Message) error {
	return or(h.send, h.Layer.Send)(ctx, channel, msg)
}

func (h *hooked) Receive(ctx context.Context, channel string) (layer.Message, error) {
	return or(h.receive, h.Layer.Receive)(ctx, channel)
}

// ReceiveBatch does not go round a fault in Receive.
func (h *hooked) ReceiveBatch(ctx context.Context, channel string, buf []layer.Message) (int, error) {
	if h.batch != nil {
		return h.batch(ctx, channel, buf)
	}
	if h.receive == nil {
		return layer.ReceiveBatch(ctx, h.Layer, channel, buf)
	}
	if len(buf) == 0 {
		return 0, nil
	}
	msg, err := h.receive(ctx, channel)
	if err != nil {
		return 0, err
	}
	buf[0] = msg
	return 1, nil
}

func (h *hooked) GroupAdd(ctx context.Context, group, channel string) error {
	return or(h.groupAdd, h.Layer.GroupAdd)(ctx, group, channel)
}

func (h *hooked) GroupDiscard(ctx context.Context, group, channel string) error {
	return or(h.groupDiscard, h.Layer.GroupDiscard)(ctx, group, channel)
}

func (h *hooked) GroupSend(ctx context.Context, group string, msg layer.Message) error {
	return or(h.groupSend, h.Layer.GroupSend)(ctx, group, msg)
}

func (h *hooked) Release(ctx context.Context, channel string) error {
	if h.release != nil {
		return h.release(ctx, channel)
	}
	return layer.Release(ctx, h.Layer, channel)
}

func (h *hooked) Flush(ctx context.Context) error {
	if h.flush != nil {
		return h.flush(ctx)
	}
	return layer.Flush(ctx, h.Layer)
}

func (h *hooked) Ping(ctx context.Context) error {
	if h.ping != nil {
		return h.ping(ctx)
	}
	return layer.Ping(ctx, h.Layer)
}

func (h *hooked) Stats() layer.Stats {
	if h.stats != nil {
		return h.stats()
	}
	stats, _ := layer.ReadStats(h.Layer)
	return stats
}

func (h *hooked) Close() error { return or(h.close, h.Layer.Close)() }

func (h *hooked) Unwrap() layer.Layer { return h.Layer }

// or returns hook, or if there is none what it would replace.
func or[F func(context.Context, string) (string, error) |
	func(context.Context, string) (layer.Message, error) |
	func(context.Context, string, layer.Message) error |
	func(context.Context, string, string) error |
	func() error](hook, good F) F {
	if hook != nil {
		return hook
	}
	return good
}

// every counts calls and reports true at each nth.
type every struct {
	n  int
	mu sync.Mutex
	at int
}

func (e *every) nth() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.at = (e.at + 1) % e.n
	return e.at == 0
}

// lock is a mutex made of a channel: in a synctest bubble, only waiting for
// such a one lets time pass.
type lock chan struct{}

func newLock() lock { return make(lock, 1) }

// do runs f under the lock, or without it after for ever: then the check that
// was to find the deadlock has found it.
func (l lock) do(f func()) {
	over := time.NewTimer(forEver)
	defer over.Stop()
	select {
	case l <- struct{}{}:
		defer func() { <-l }()
	case <-over.C:
	}
	f()
}

// memberships is a broken layer's own idea of who is in which group, in the
// order in which they were added.
type memberships struct {
	mu     sync.Mutex
	groups map[string][]string
}

// add reports whether the channel was added: whether it was no member before.
func (m *memberships) add(group, channel string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if slices.Contains(m.groups[group], channel) {
		return false
	}
	if m.groups == nil {
		m.groups = map[string][]string{}
	}
	m.groups[group] = append(m.groups[group], channel)
	return true
}

// discard reports whether the channel was a member.
func (m *memberships) discard(group, channel string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	i := slices.Index(m.groups[group], channel)
	if i < 0 {
		return false
	}
	m.groups[group] = slices.Delete(m.groups[group], i, i+1)
	return true
}

// watching returns a good layer whose memberships m follows.
func (m *memberships) watching(good layer.Layer) *hooked {
	return &hooked{
		Layer: good,
		groupAdd: func(ctx context.Context, group, channel string) error {
			m.add(group, channel)
			return good.GroupAdd(ctx, group, channel)
		},
		groupDiscard: func(ctx context.Context, group, channel string) error {
			m.discard(group, channel)
			return good.GroupDiscard(ctx, group, channel)
		},
	}
}

func (m *memberships) of(group string) []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.groups[group])
}

func (m *memberships) snapshot() map[string][]string {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := map[string][]string{}
	for group, channels := range m.groups {
		all[group] = slices.Clone(channels)
	}
	return all
}

// with returns the groups that the channel is in.
func (m *memberships) with(channel string) []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var groups []string
	for group, members := range m.groups {
		if slices.Contains(members, channel) {
			groups = append(groups, group)
		}
	}
	return groups
}
