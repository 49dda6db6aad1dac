package consumer_test

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/layer/consumer"
	"github.com/channellayer/channellayer/memlayer"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newLayer(tb testing.TB, limits layer.Limits) *memlayer.Layer {
	tb.Helper()
	l, err := memlayer.New(memlayer.Options{Limits: limits})
	require.NoError(tb, err)
	tb.Cleanup(func() { l.Close() })
	return l
}

func open(tb testing.TB, l layer.Layer, o consumer.Options) *consumer.Consumer {
	tb.Helper()
	c, err := consumer.Open(context.Background(), l, o)
	require.NoError(tb, err)
	tb.Cleanup(func() { c.Close() })
	return c
}

func newWorker(tb testing.TB, l layer.Layer, o consumer.WorkerOptions) *consumer.Worker {
	tb.Helper()
	w, err := consumer.NewWorker(l, o)
	require.NoError(tb, err)
	return w
}

// message has a type and a number by which tests tell it from others.
func message(kind string, n int) layer.Message {
	return layer.NewMessage(map[string]any{"type": kind, "n": n})
}

func send(tb testing.TB, l layer.Layer, channel, kind string, n int) {
	tb.Helper()
	require.NoErrorf(tb, l.Send(context.Background(), channel, message(kind, n)), "sending %s %d to %s", kind, n, channel)
}

// start runs f in a goroutine and returns what waits for its result.
func start[T any](f func() T) func() T {
	result := make(chan T, 1)
	go func() { result <- f() }()
	return func() T { return <-result }
}

// faulty is a layer in one process whose calls tests replace. It has none of
// the optional methods: it cannot release a channel.
type faulty struct {
	layer.Layer
	receive  func(ctx context.Context, channel string) (layer.Message, error)
	groupAdd func(ctx context.Context, group, channel string) error
}

func (f *faulty) Receive(ctx context.Context, channel string) (layer.Message, error) {
	if f.receive != nil {
		return f.receive(ctx, channel)
	}
	return f.Layer.Receive(ctx, channel)
}

func (f *faulty) GroupAdd(ctx context.Context, group, channel string) error {
	if f.groupAdd != nil {
		return f.groupAdd(ctx, group, channel)
	}
	return f.Layer.GroupAdd(ctx, group, channel)
}

var errAway = errors.New("the broker is away")

// journal collects what happened, in order.
type journal[T any] struct {
	mu      sync.Mutex
	entries []T
}

func (j *journal[T]) add(entry T) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.entries = append(j.entries, entry)
}

func (j *journal[T]) all() []T {
	j.mu.Lock()
	defer j.mu.Unlock()
	return append([]T(nil), j.entries...)
}
