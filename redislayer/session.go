package redislayer

import (
	"context"
	"errors"
	"math/rand/v2"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

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

// beat is one heartbeat.
func (s *session) beat(ctx context.Context, c *conn) error {
	if err := s.renew(ctx, c); err != nil {
		return err
	}
	s.l.queues.tellAll()
	if len(s.rewrite) == 0 {
		s.rewrite = slices.Collect(s.l.groups.All())
		s.passed, s.passing = s.passing, time.Now()
	}
	n := min(len(s.rewrite), maxRewrite)
	batch := append(s.rewrite[:n:n], s.again...)
	s.rewrite, s.again = s.rewrite[n:], nil
	if err := s.writeBatches(ctx, c, batch); err != nil {
		return err
	}
	if s.forgotten { // messages went to these groups, and not to this process
		s.forgotten = false
		s.l.gap(s.passed, time.Now(), "a group was lost")
	}
	return nil
}

// writeBatches writes groups, some at a time.
func (s *session) writeBatches(ctx context.Context, c *conn, groups []string) error {
	for batch := range slices.Chunk(groups, groupBatch) {
		refused, err := s.writeGroups(ctx, c, batch)
		if err != nil {
			s.soil(groups...)
			return err
		}
		s.refused(refused)
	}
	return nil
}

// refused keeps the groups that the server refused to write for the next
// heartbeat.
func (s *session) refused(groups map[string]error) {
	for group, err := range groups {
		s.again = append(s.again, group)
		s.l.log.Warn("a group was refused", "group", group, "error", err)
	}
}

// groupBatch is how many groups are written in one round trip, maxRewrite how
// many in one heartbeat only to make sure of them, and to renew their TTL.
const (
	groupBatch = 1000
	maxRewrite = 5000
)

// renew renews the lease. If the inbox is gone it makes another, above the
// position that the reader has reached. Whenever the server may have forgotten
// what this process had there, it then registers all groups and waiting
// receivers again, and reports the gap; if that fails, it is the first thing
// that the next call does.
func (s *session) renew(ctx context.Context, c *conn) error {
	l := s.l
	held := s.incarnation.Load()
	heldText := ""
	if held > 0 {
		heldText = strconv.FormatUint(held, 10)
	}
	s.attempts++ // never the same again, not even if the outcome is unknown
	read := l.reader.progress()
	asked := l.now()
	reply, err := c.script(ctx, leaseScript.call(ctx, []string{l.keys.inbox(l.process), l.keys.lease(l.process)},
		heldText, s.attempts, l.options.Lease.Milliseconds(), read.fetched.ms, read.fetched.seq, read.messages, read.bytes))
	if err != nil {
		return err
	}
	answered := l.now()
	made, seconds, micros := number(reply, 0), number(reply, 1), number(reply, 2)
	s.clock.Store(seconds*int64(time.Second) + micros*int64(time.Microsecond) - (asked+answered)/2)
	if made == 1 {
		last, _ := reply[3].(string)
		at, err := parsePosition(last)
		if err != nil {
			return err
		}
		if held > 0 {
			s.lose("the inbox was lost")
		}
		s.unregistered = true
		s.incarnation.Store(s.attempts)
		l.reader.restart(at)
		l.log.Info("made an inbox", "incarnation", s.attempts)
	}
	if s.unregistered {
		if err := s.raise(ctx, c, l.reader.progress()); err != nil {
			return err
		}
		if err := s.registerAll(ctx, c); err != nil {
			return err
		}
		s.unregistered = false
	}
	s.renewedAt.Store(answered)
	s.lastGood = time.Now()
	if s.lost != "" {
		reason := s.lost
		s.lost = ""
		l.gap(s.lostFrom, s.lastGood, reason)
	}
	l.reader.vouch()
	return nil
}

// lose takes note that messages may have been lost: those that came since the
// reader is known to have had all there was.
func (s *session) lose(reason string) {
	from := s.lastGood
	if read := s.l.reader.readAllAt(); !read.IsZero() && read.Before(from) {
		from = read
	}
	if s.lost == "" {
		s.lostFrom = from
	}
	s.lost = reason
}

// raise makes sure that ids of new entries are above the reader's position,
// after the server may have been set back.
func (s *session) raise(ctx context.Context, c *conn, read progress) error {
	inbox := s.l.keys.inbox(s.l.process)
	info, err := c.XInfoStream(ctx, inbox).Result()
	if err != nil {
		return err
	}
	last, err := parsePosition(info.LastGeneratedID)
	if err != nil || !last.before(read.fetched) {
		return err
	}
	err = c.Do(ctx, "XSETID", inbox, read.fetched.String()).Err()
	if err != nil && strings.Contains(err.Error(), "smaller than") {
		return nil // an entry came in between, with an id above it
	}
	return err
}

// registerAll writes again all that this process has at Redis besides its
// inbox.
func (s *session) registerAll(ctx context.Context, c *conn) error {
	s.mu.Lock()
	clear(s.registered)
	s.mu.Unlock()
	if err := s.writeBatches(ctx, c, slices.Collect(s.l.groups.All())); err != nil {
		return err
	}
	if err := s.writeNormalMembers(ctx, c); err != nil {
		return err
	}
	s.l.queues.tellAll()
	return nil
}

// leave removes what this process has at Redis. What Redis handed to receivers
// of normal channels here, and nobody took, goes back to the queues; the rest of
// the inbox is counted as dropped.
func (s *session) leave(ctx context.Context, c *conn) error {
	l := s.l
	member := processMember(l.process, strconv.FormatUint(s.incarnation.Load(), 10))
	var cmds []redis.Cmder
	s.mu.Lock()
	for group := range s.registered {
		cmds = append(cmds, redis.NewIntCmd(ctx, "ZREM", l.keys.group(group), member))
	}
	s.mu.Unlock()
	for _, channel := range l.queues.channels() {
		cmds = append(cmds, redis.NewIntCmd(ctx, "LREM", l.keys.waiting(channel), 0, l.process))
	}
	for batch := range slices.Chunk(cmds, groupBatch) {
		if _, err := c.Pipelined(ctx, func(p redis.Pipeliner) error {
			for _, cmd := range batch {
				p.Process(ctx, cmd)
			}
			return nil
		}); err != nil {
			return err
		}
	}
	if err := l.reader.finish(ctx, c); err != nil {
		return err
	}
	if err := s.runCalls(ctx, c, s.plan(ctx, l.queues.takeBack())); err != nil {
		return err
	}
	return c.Del(ctx, l.keys.inbox(l.process), l.keys.lease(l.process)).Err()
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

// enqueue queues an operation, or reports why that cannot be.
func (s *session) enqueue(o *op) error {
	s.mu.Lock()
	if s.closing || s.down != nil {
		err := s.down
		if s.closing {
			err = layer.ErrClosed
		}
		s.mu.Unlock()
		return err
	}
	s.queued = append(s.queued, o)
	first := len(s.queued) == 1
	s.mu.Unlock()
	if first {
		s.nudge()
	}
	return nil
}

// do queues an operation and waits until it is done or ctx ends. Every error
// tells its outcome.
func (s *session) do(ctx context.Context, o *op) error {
	err, maybe := s.try(ctx, o)
	if maybe {
		return layer.MaybeSent(err)
	}
	return layer.NotSent(err)
}

// try is do with the outcome beside the error.
func (s *session) try(ctx context.Context, o *op) (err error, maybe bool) {
	w := waiters.Get().(*waiter)
	o.done = w.done
	if err := s.enqueue(o); err != nil {
		waiters.Put(w)
		return err, false
	}
	w.timeout.Reset(s.l.options.Timeout)
	select {
	case <-w.done:
		w.timeout.Stop()
		waiters.Put(w)
		return o.err, o.maybe
	case <-ctx.Done():
		err = ctx.Err()
	case <-w.timeout.C:
		err = unavailable(errTimeout)
	}
	w.timeout.Stop()
	if s.withdraw(o) {
		waiters.Put(w)
		return err, false
	}
	select {
	case <-w.done: // it was finished just now
		waiters.Put(w)
		return o.err, o.maybe
	default:
		return err, true // and w is the operation's still
	}
}

// waiter is what a caller waits with. It is used again once nobody else can
// have to do with it: after its operation was finished, which happens once, or
// was taken out of the queue.
type waiter struct {
	done    chan struct{}
	timeout *time.Timer
}

var waiters = sync.Pool{New: func() any {
	w := &waiter{make(chan struct{}, 1), time.NewTimer(time.Hour)}
	w.timeout.Stop()
	return w
}}

var errTimeout = errors.New("no answer within the timeout")

// withdraw takes an operation out of the queue, unless it has left.
func (s *session) withdraw(o *op) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.Index(s.queued, o)
	if o.taken || i < 0 {
		return false
	}
	s.queued = slices.Concat(s.queued[:i], s.queued[i+1:])
	return true
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

// script runs one script, and loads it again if the server has forgotten it.
func (c *conn) script(ctx context.Context, cmd interface {
	Result() (any, error)
	Args() []any
}) ([]any, error) {
	call := func() (any, error) { return c.Do(ctx, cmd.Args()...).Result() }
	reply, err := call()
	if err != nil && certainlyNotRun(err) && len(err.Error()) >= 8 && err.Error()[:8] == "NOSCRIPT" {
		if err := c.loadScripts(ctx); err != nil {
			return nil, err
		}
		reply, err = call()
	}
	values, _ := reply.([]any)
	return values, err
}

// number reads an integer from a script's reply.
func number(reply []any, i int) int64 {
	if i >= len(reply) {
		return 0
	}
	switch v := reply[i].(type) {
	case int64:
		return v
	case string:
		n, _ := strconv.ParseInt(v, 10, 64)
		return n
	}
	return 0
}
