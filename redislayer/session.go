package redislayer

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/redislayer/internal/caller"
	"github.com/channellayer/channellayer/redislayer/internal/link"
)

// session is all that a layer writes to Redis, and the lease that keeps its
// inbox, on one connection. Whoever has the turn uses that: the session's
// goroutine, or a caller who finds nobody else there and makes the round trip
// itself, which saves waking a goroutine and being woken by it. Callers who
// come while somebody has the turn queue their operations, which leave together
// in the next round trip. All that leaves together comes from callers that
// wait at the same time, so none of it has to keep an order.
type session struct {
	l      *Layer
	source source
	sealer *sealer

	mu      sync.Mutex
	queued  caller.Queue[*op]
	down    error // why the last attempt to connect failed; calls fail at once
	closing bool
	wake    chan struct{} // has room for one

	turn caller.Turn[*conn, *call]

	// Groups whose entry at Redis may not be what it should be, and the
	// incarnation under which a group is known to be registered.
	dirty      map[string]struct{}
	registered map[string]uint64

	// Only who has the turn uses these.
	out      []byte // the requests of a round trip
	scratch  []byte // an entry that goes into one
	epoch    uint64
	sequence uint64
	lastGood time.Time // when the server last answered

	// Only the session's goroutine uses these.
	runID    string    // of the server that had the inbox last
	replaced bool      // this server is another one
	rewrite  []string  // groups to be written again, in case Redis lost them
	again    []string  // groups that Redis refused to write
	refusing bool      // it has refused some since a heartbeat when it refused none
	passed   time.Time // every group that is registered has been found, or written, since
	passing  time.Time // when rewrite began
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

// run is the session's goroutine. It ends when closing is set and nothing is
// queued, or when ctx ends.
func (s *session) run(ctx context.Context) {
	defer close(s.done)
	var backoff link.Backoff
	var outage link.Outage
	moved := false // to another node of a Cluster
	for ctx.Err() == nil && (!s.isClosing() || moved) {
		c, err := s.open(ctx)
		if err != nil {
			s.fail(err)
			if ctx.Err() == nil {
				outage.Tell(s.l.log, "redis is away", err)
			}
			s.source.reload(ctx, err)
			backoff.Wait(ctx, nil)
			continue
		}
		backoff.Reset()
		outage.Over(s.l.log, "redis is there again")
		err = s.serve(ctx, c)
		moved = s.sentElsewhere(ctx, c, err)
		c.Close()
		s.connected.Store(false)
		if err != nil {
			s.l.log.Warn("connection to redis lost", "error", err)
			if link.StaleServer(err) {
				s.source.reload(ctx, err)
			}
		}
	}
	s.fail(layer.ErrClosed)
}

// open connects and makes sure that the inbox is there and everything that
// belongs to it.
func (s *session) open(ctx context.Context) (_ *conn, err error) {
	c, err := s.source.connect(ctx, s.l.options.Timeout, s.l.options.Timeout)
	if err != nil {
		return nil, explain(err)
	}
	runID := ""
	defer func() {
		if err != nil {
			if runID == s.runID { // not by one that never had the inbox
				s.sentElsewhere(ctx, c, err)
			}
			c.Close()
		}
	}()
	runID, err = c.runID(ctx)
	if err != nil {
		return nil, explain(err)
	}
	if err := c.loadScripts(ctx); err != nil {
		return nil, explain(err)
	}
	// The key for the check does not exist: from a slot that is on its way to
	// another node, it sends elsewhere, also if the inbox is still here.
	if err := c.checkRights(ctx, s.l.keys, s.l.keys.check(s.l.name)); err != nil && !redis.HasErrorPrefix(err, "ASK") {
		return nil, explain(err)
	}
	another := runID != s.runID
	s.unregistered = s.unregistered || another
	s.replaced = another && s.runID != ""
	if err := s.renew(ctx, c); err != nil {
		return nil, explain(err)
	}
	s.runID = runID
	s.mu.Lock()
	s.down = nil
	s.mu.Unlock()
	s.connected.Store(true)
	s.l.queues.tellAll()
	return c, nil
}

// sentElsewhere reports whether err is a master's word that the inbox is at
// another node of a Cluster, or on its way there. Another server is then no sign
// of a loss: what is found there is what was moved.
func (s *session) sentElsewhere(ctx context.Context, c *conn, err error) bool {
	if s.l.cluster == nil || !redis.HasErrorPrefix(err, "MOVED") && !redis.HasErrorPrefix(err, "ASK") {
		return false
	}
	if c.isMaster(ctx) {
		s.unregistered, s.runID = true, ""
	}
	return true
}

// serve runs what is queued until the connection fails.
func (s *session) serve(ctx context.Context, c *conn) error {
	s.mu.Lock()
	s.turn.Begin(c)
	s.mu.Unlock()
	defer s.takeBack(ctx, c)
	interval := s.l.options.Lease / 3
	beat := time.NewTimer(interval)
	defer beat.Stop()
	due := false // a heartbeat
	for {
		w := s.take(due)
		switch {
		case w.broken != nil:
			return w.broken
		case w.idle && w.closing:
			return s.leave(ctx, c)
		case w.idle || w.wait:
			select {
			case <-s.wake:
			case <-beat.C:
				due = true
			case <-ctx.Done():
				return nil
			}
			continue
		}
		if len(w.pending) > 0 {
			c.Pipe.Extend(s.l.options.Timeout)
			if err := s.complete(ctx, c, w.pending, receive(c, w.pending)); err != nil {
				s.giveUp(w, err)
				return err
			}
		}
		// Before more is promised the lease is renewed: this process may have slept.
		if due || s.l.now()-s.renewedAt.Load() > int64(s.l.options.Lease/2) {
			renew := s.renew
			if due {
				renew = s.beat
			}
			if err := renew(ctx, c); err != nil {
				s.giveUp(w, err)
				return err
			}
			due = false
			beat.Reset(interval)
		}
		if err := s.flush(ctx, c, w.ops, w.groups); err != nil {
			return err
		}
		s.lastGood = time.Now()
		if n := len(w.ops); n > 1 {
			s.mu.Lock()
			s.queued.Reuse(w.ops)
			s.mu.Unlock()
			// Those whose calls have just returned may call again at once.
			s.queued.Await(&s.mu, n)
		}
		select {
		case <-beat.C:
			due = true
		default:
		}
	}
}

// giveUp finishes work that was not begun.
func (s *session) giveUp(w work, err error) {
	s.finish(w.ops, unavailable(err))
	s.soil(w.groups...)
}

// soil marks groups as to be written.
func (s *session) soil(groups ...string) {
	s.mu.Lock()
	for _, g := range groups {
		s.dirty[g] = struct{}{}
	}
	s.mu.Unlock()
}

// fail ends all that is queued: it was certainly not sent.
func (s *session) fail(cause error) {
	err := cause
	if !errors.Is(cause, layer.ErrClosed) {
		err = unavailable(cause)
	}
	s.mu.Lock()
	s.down = err
	ops := s.queued.TakeAll()
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
