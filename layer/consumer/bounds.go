package consumer

import (
	"context"
	"reflect"
	"sync"
	"sync/atomic"
)

// bounds makes the ctxs of calls end at Close too. A context.Context that ends
// at Close, with a context.AfterFunc for each call, would do the same with
// more memory for each consumer, and more time for each call.
type bounds struct {
	closed atomic.Bool
	kept   atomic.Pointer[bound]

	mu  sync.Mutex
	all []*bound
}

// bound is a caller's ctx that ends at Close too.
type bound struct {
	caller context.Context
	ctx    context.Context
	cancel context.CancelFunc
	kept   bool
	index  int // in bounds.all
}

// begin binds ctx for a call. The caller must call done when it is over.
func (bs *bounds) begin(ctx context.Context) *bound {
	b := &bound{caller: ctx}
	b.ctx, b.cancel = context.WithCancel(ctx)
	bs.mu.Lock()
	defer bs.mu.Unlock()
	if bs.closed.Load() {
		b.cancel()
		return b
	}
	b.index = len(bs.all)
	bs.all = append(bs.all, b)
	return b
}

// beginReading is begin for calls that pass the same ctx time and again: one
// bound is kept for as long as the caller's ctx lasts. Only pointers are kept,
// which can be compared whatever they point to.
func (bs *bounds) beginReading(ctx context.Context) *bound {
	isPointer := reflect.TypeOf(ctx).Kind() == reflect.Pointer
	kept := bs.kept.Load()
	if isPointer && kept != nil && kept.caller == ctx {
		return kept
	}
	b := bs.begin(ctx)
	if !isPointer || kept != nil && kept.caller.Err() == nil {
		return b
	}
	b.kept = true
	if !bs.kept.CompareAndSwap(kept, b) {
		b.kept = false
	} else if kept != nil {
		bs.remove(kept)
	}
	return b
}

func (bs *bounds) done(b *bound) {
	if !b.kept {
		bs.remove(b)
	}
}

func (bs *bounds) remove(b *bound) {
	b.cancel()
	bs.mu.Lock()
	defer bs.mu.Unlock()
	if bs.closed.Load() {
		return
	}
	last := len(bs.all) - 1
	bs.all[b.index] = bs.all[last]
	bs.all[b.index].index = b.index
	bs.all[last] = nil
	bs.all = bs.all[:last]
}

func (bs *bounds) close() {
	bs.mu.Lock()
	bs.closed.Store(true)
	all := bs.all
	bs.all = nil
	bs.mu.Unlock()
	for _, b := range all {
		b.cancel()
	}
}
