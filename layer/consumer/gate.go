package consumer

import (
	"context"
	"sync"
	"time"
)

// grace is for how long all handlers must have been busy before receivers that
// wait are called back. It is not zero, so that a receiver whose channel has
// messages gets one each time a handler is free, even if that is at once taken
// by another channel's and the broker needs a while to answer; and because
// calling receivers back between short handlers would cost more than it gains.
const grace = 100 * time.Millisecond

// gate lets a worker's receivers wait for messages only while a handler is
// free, so that workers elsewhere get what this one has no time for. Since a
// receiver does not know beforehand whether its channel has messages, several
// may take some for the last free handler; what they took then waits for one.
type gate struct {
	parent context.Context

	mu      sync.Mutex
	changed sync.Cond // free became positive, or parent ended
	free    int       // handlers, less the messages taken and not yet handled
	ctx     context.Context
	end     context.CancelFunc // of ctx
	timer   *time.Timer        // ends ctx; begins when free ceases to be positive

	stopWaking func() bool
}

func newGate(parent context.Context, handlers int) *gate {
	g := &gate{parent: parent, free: handlers}
	g.changed.L = &g.mu
	g.ctx, g.end = context.WithCancel(parent)
	g.timer = time.AfterFunc(grace, g.callBack)
	g.timer.Stop()
	g.stopWaking = context.AfterFunc(parent, func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.changed.Broadcast()
	})
	return g
}

// close frees what the gate holds. Nobody may wait at it.
func (g *gate) close() {
	g.stopWaking()
	g.timer.Stop()
	g.end()
}

// wait returns when a handler is free or the parent ended, with the ctx to
// receive under and the number of free handlers.
func (g *gate) wait() (ctx context.Context, free int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for g.free <= 0 && g.parent.Err() == nil {
		g.changed.Wait()
	}
	return g.ctx, g.free
}

// take notes that n messages were taken.
func (g *gate) take(n int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.free > 0 && g.free <= n {
		g.timer.Reset(grace)
	}
	g.free -= n
}

// give notes that one message was handled.
func (g *gate) give() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.free++; g.free != 1 {
		return
	}
	if g.ctx.Err() != nil {
		g.ctx, g.end = context.WithCancel(g.parent)
	}
	g.changed.Broadcast()
}

// callBack runs in the timer's goroutine.
func (g *gate) callBack() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.free <= 0 { // else a handler has become free since
		g.end()
	}
}
