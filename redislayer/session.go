package redislayer

import (
	"context"
	"errors"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/channellayer/channellayer/layer"
)

// session is all that a layer writes to Redis, and the lease that keeps its
// inbox. One goroutine owns it and the one connection it writes on. Callers
// queue their operations; those that come while a round trip is under way
// leave together in the next. All that leaves together comes from callers that
// wait at the same time, so none of it has to keep an order.
type session struct {
	l      *Layer
	source source
	sealer *sealer

	mu      sync.Mutex
	queued  []*op // newest last
	down    error // why the last attempt to connect failed; calls fail at once
	closing bool
	wake    chan struct{} // has room for one

	// Groups whose entry at Redis may not be what it should be, and the
	// incarnation under which a group is known to be registered.
	dirty      map[string]struct{}
	registered map[string]uint64

	// Only the session's goroutine uses these.
	epoch    uint64
	sequence uint64
	runID    string
	rewrite  []string  // groups to be written again, in case Redis lost them
	again    []string  // groups that Redis refused to write
	passed   time.Time // every group that is registered has been found, or written, since
	passing  time.Time // when rewrite began
	lastGood time.Time // when the server last answered
	attempts uint64    // to make an inbox; each would be another incarnation

	// What was found out by renewing the lease, and is not dealt with yet.
	unregistered bool      // groups and waiting receivers may not be known there
	lost         string    // why messages may have been lost, or ""
	lostFrom     time.Time // since when, if lost
	forgotten    bool      // Redis had lost the entry of a group, which was written again

	incarnation atomic.Uint64 // 0 until an inbox was made
	renewedAt   atomic.Int64  // when the lease was last acknowledged, on the layer's clock
	clock       atomic.Int64  // the server's clock minus the layer's, in nanoseconds
	connected   atomic.Bool

	done chan struct{}
}

func newSession(l *Layer, source source) *session {
	return &session{
		l: l, source: source,
		sealer:     newSealer(l.keys.prefix, l.options.EncryptionKeys),
		wake:       make(chan struct{}, 1),
		dirty:      map[string]struct{}{},
		registered: map[string]uint64{},
		done:       make(chan struct{}),
		passing:    time.Now(),
	}
}

// Bounds of one round trip.
const (
	maxFlushOps   = 8192
	maxFlushBytes = 16 << 20
)

// Between attempts to connect, each step with jitter.
const (
	minBackoff = 20 * time.Millisecond
	maxBackoff = 500 * time.Millisecond
)

// run is the session's goroutine. It ends when closing is set and nothing is
// queued, or when ctx ends.
func (s *session) run(ctx context.Context) {
	defer close(s.done)
	backoff := minBackoff
	for ctx.Err() == nil && !s.isClosing() {
		c, err := s.open(ctx)
		if err != nil {
			s.fail(err)
			s.l.log.Warn("redis is away", "error", err)
			s.source.reload(ctx)
			wait := time.NewTimer(backoff/2 + rand.N(backoff))
			select {
			case <-wait.C:
			case <-ctx.Done():
			}
			wait.Stop()
			backoff = min(2*backoff, maxBackoff)
			continue
		}
		backoff = minBackoff
		err = s.serve(ctx, c)
		c.close()
		s.connected.Store(false)
		if err != nil {
			s.l.log.Warn("connection to redis lost", "error", err)
			if staleServer(err) {
				s.source.reload(ctx)
			}
		}
	}
	s.fail(layer.ErrClosed)
}

// open connects and makes sure that the inbox is there and everything that
// belongs to it.
func (s *session) open(ctx context.Context) (*conn, error) {
	c, err := s.source.connect(ctx, s.l.options.Timeout, s.l.options.Timeout)
	if err != nil {
		return nil, explain(err)
	}
	ready := false
	defer func() {
		if !ready {
			c.close()
		}
	}()
	info, err := c.info(ctx)
	if err != nil {
		return nil, explain(err)
	}
	if err := c.loadScripts(ctx); err != nil {
		return nil, explain(err)
	}
	if err := c.checkRights(ctx, s.l.keys.check(s.l.process)); err != nil {
		return nil, explain(err)
	}
	if info.runID != s.runID {
		s.unregistered = true
		if s.runID != "" {
			s.lose("redis was restarted or replaced")
		}
		s.runID = info.runID
	}
	if err := s.renew(ctx, c); err != nil {
		return nil, explain(err)
	}
	ready = true
	s.mu.Lock()
	s.down = nil
	s.mu.Unlock()
	s.connected.Store(true)
	s.l.queues.tellAll()
	return c, nil
}

// serve runs what is queued until the connection fails.
func (s *session) serve(ctx context.Context, c *conn) error {
	interval := s.l.options.Lease / 3
	beat := time.NewTimer(interval)
	defer beat.Stop()
	for {
		ops, groups, closing := s.take()
		if len(ops) == 0 && len(groups) == 0 {
			if closing {
				return s.leave(ctx, c)
			}
			select {
			case <-s.wake:
			case <-beat.C:
				if err := s.beat(ctx, c); err != nil {
					return err
				}
				beat.Reset(interval)
			case <-ctx.Done():
				return nil
			}
			continue
		}
		if s.l.now()-s.renewedAt.Load() > int64(s.l.options.Lease/2) {
			// Before more is promised: this process may have slept.
			if err := s.renew(ctx, c); err != nil {
				s.finish(ops, unavailable(err))
				s.soil(groups...)
				return err
			}
			beat.Reset(interval)
		}
		if err := s.flush(ctx, c, ops, groups); err != nil {
			return err
		}
		s.lastGood = time.Now()
		if len(ops) > 1 {
			// Those whose calls have just returned may call again at once.
			s.await(len(ops))
		}
		select {
		case <-beat.C:
			if err := s.beat(ctx, c); err != nil {
				return err
			}
			beat.Reset(interval)
		default:
		}
	}
}

// await lets callers run until as many have come as were served last, or no
// more come. Without it, senders fall into two halves that take turns, and a
// round trip carries half of what it could: 29 messages of 64 senders.
func (s *session) await(served int) {
	for had := -1; ; {
		s.mu.Lock()
		n := len(s.queued)
		s.mu.Unlock()
		if n >= served && had >= 0 || n == had {
			return
		}
		had = n
		runtime.Gosched()
	}
}

// soil marks groups as to be written.
func (s *session) soil(groups ...string) {
	s.mu.Lock()
	for _, g := range groups {
		s.dirty[g] = struct{}{}
	}
	s.mu.Unlock()
}

// take takes what is queued, within the bounds of a round trip.
func (s *session) take() (ops []*op, groups []string, closing bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n, bytes := 0, 0
	for n < len(s.queued) && n < maxFlushOps && (n == 0 || bytes+len(s.queued[n].body) <= maxFlushBytes) {
		bytes += len(s.queued[n].body)
		s.queued[n].taken = true
		n++
	}
	ops = s.queued[:n:n]
	s.queued = s.queued[n:]
	if len(s.queued) == 0 {
		s.queued = nil
	}
	for g := range s.dirty {
		if len(groups) == groupBatch {
			break
		}
		groups = append(groups, g)
		delete(s.dirty, g)
	}
	return ops, groups, s.closing
}

// fail ends all that is queued: it was certainly not sent.
func (s *session) fail(cause error) {
	err := cause
	if !errors.Is(cause, layer.ErrClosed) {
		err = unavailable(cause)
	}
	s.mu.Lock()
	s.down = err
	ops := s.queued
	s.queued = nil
	s.mu.Unlock()
	s.finish(ops, err)
}

func (s *session) finish(ops []*op, err error) {
	for _, o := range ops {
		o.finish(err)
	}
}

func (s *session) isClosing() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closing
}

// cause is why calls fail now, or nil.
func (s *session) cause() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.down
}

func (s *session) nudge() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// close removes what this process has at Redis, and ends the session's
// goroutine when all that was queued is written. It waits up to the timeout.
func (s *session) close(timeout time.Duration) {
	s.mu.Lock()
	s.closing = true
	s.mu.Unlock()
	s.nudge()
	wait := time.NewTimer(timeout)
	defer wait.Stop()
	select {
	case <-s.done:
	case <-wait.C:
	}
}
