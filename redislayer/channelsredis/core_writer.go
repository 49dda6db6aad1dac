package channelsredis

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/redislayer/channelsredis/internal/redisconn"
	"github.com/channellayer/channellayer/redislayer/internal/caller"
	"github.com/channellayer/channellayer/redislayer/internal/link"
)

// writer is all that a Core writes to one host, on one connection. A caller that
// finds it free uses it itself. Otherwise callers queue their operations; those
// that come while a round trip is under way leave together in the next, which
// the writer's goroutine makes. All that leaves together comes from callers that
// wait at the same time, so none of it has to keep an order.
type writer struct {
	c        *Core
	host     int
	settings *redis.Options
	log      *slog.Logger

	mu       sync.Mutex
	queued   caller.Queue[*op]
	down     error // why the last attempt to connect failed; calls fail at once
	closing  bool
	lostFrom time.Time // since when messages may have been lost, or zero
	lostWhy  string
	runID    string          // of the server; only who has the turn changes it
	gone     string          // the run id of the server before: what was lost with it is known
	ahead    bool            // a popper has met another server
	conn     *redisconn.Conn // the last one
	turn     caller.Turn[*redisconn.Conn, *call]
	wake     chan struct{} // has room for one

	// Only who has the turn uses these.
	out      []byte           // what a round trip sends
	filled   map[string]int64 // when a message was last put into a queue
	score    int64            // the highest given to a message of this process, in microseconds
	last     int64            // the id of the last connection
	lastGood time.Time        // when the server last answered
	asked    int64            // when the round trip under way began, on the layer's clock
	clockAt  int64            // when clock was set; 0 if never with this server
	clockIn  int64            // how long the round trip took that told it

	pruning bool // the goroutine looks for what has expired; it alone changes it, guarded by mu

	clock     atomic.Int64 // the server's clock minus the layer's, in nanoseconds
	connected atomic.Bool
	done      chan struct{}
}

func newWriter(c *Core, host int, settings *redis.Options) *writer {
	return &writer{
		c: c, host: host, settings: settings, log: c.log.With("host", host),
		wake: make(chan struct{}, 1), done: make(chan struct{}), filled: map[string]int64{},
	}
}

// Bounds of one round trip.
const (
	maxRoundOps   = 8192
	maxRoundBytes = 16 << 20
)

// beatInterval is how often an idle writer makes a round trip: to find out that
// its server is gone, and what time it is there.
const beatInterval = 5 * time.Second

// How often queues are looked at for what has expired: a quarter of Expiry,
// within these bounds.
const (
	minPruneInterval = 10 * time.Millisecond
	maxPruneInterval = 250 * time.Millisecond
)

// run is the writer's goroutine. It ends when closing is set and nothing is
// queued, or when ctx ends.
func (w *writer) run(ctx context.Context) {
	defer close(w.done)
	var backoff link.Backoff
	var outage link.Outage
	for ctx.Err() == nil && !w.isClosing() {
		conn, err := w.open(ctx)
		if err != nil {
			w.fail(err)
			outage.Tell(w.log, "redis is away", err)
			backoff.Wait(ctx, w.wake)
			continue
		}
		backoff.Reset()
		outage.Over(w.log, "redis is there again")
		err = w.serve(ctx, conn)
		w.connected.Store(false)
		conn.Close()
		if err != nil {
			w.log.Warn("connection to redis lost", "error", err)
		}
	}
	w.fail(layer.ErrClosed)
}

// open connects, and sees to it that what the server has lost is there again.
func (w *writer) open(ctx context.Context) (*redisconn.Conn, error) {
	conn, err := redisconn.Connect(ctx, w.settings, w.c.options.Timeout, w.c.options.Timeout)
	if err != nil {
		return nil, err
	}
	if err := w.prepare(ctx, conn); err != nil {
		conn.Close()
		return nil, redisconn.Explain(err)
	}
	w.last = conn.ID
	w.mu.Lock()
	w.down, w.ahead, w.conn = nil, false, conn
	w.mu.Unlock()
	w.connected.Store(true)
	w.tellLost()
	return conn, nil
}

func (w *writer) prepare(ctx context.Context, conn *redisconn.Conn) error {
	same := conn.RunID == w.runID
	good := w.lastGood // the server that was there
	if err := endLast(ctx, conn, w.last, w.runID); err != nil {
		return err
	}
	if err := loadScripts(ctx, conn); err != nil {
		return err
	}
	if err := w.checkRights(ctx, conn); err != nil {
		return err
	}
	if !same {
		w.clockAt = 0
	}
	if err := w.readClock(ctx, conn); err != nil {
		return err
	}
	if same {
		return nil
	}
	if w.runID != "" {
		w.replacedBy(conn.RunID, good)
		if err := w.restore(ctx, conn); err != nil {
			return err
		}
	}
	w.mu.Lock()
	w.runID = conn.RunID
	w.mu.Unlock()
	return nil
}

// endLast ends an earlier connection at the server, if it is still the one that
// has that run id. What the connection was sent, and has not run, it then never
// runs: neither a send that would overtake later ones, nor a pop that nobody
// would hear of. Where there is none, it is seen whether the right to do so is
// there.
func endLast(ctx context.Context, conn *redisconn.Conn, last int64, runID string) error {
	if conn.RunID != runID { // the number may be another's
		last = math.MaxInt64 // nobody's
	}
	return conn.ClientKillByFilter(ctx, "ID", formatInt(last)).Err()
}

func (w *writer) readClock(ctx context.Context, conn *redisconn.Conn) error {
	w.asked = w.c.now()
	now, err := conn.Time(ctx).Result()
	if err == nil {
		w.setClock(now.UnixMicro())
	}
	return err
}

// setClock is told the server's time by an answer. That was read in the middle
// of the round trip, give or take half of it: an answer that took longer than
// the best is not believed, unless clocks may have drifted apart by as much
// since then (a millisecond in a second is more than they do).
func (w *writer) setClock(micros int64) {
	w.lastGood = time.Now()
	now := w.c.now()
	trip := now - w.asked
	if w.clockAt != 0 && trip > w.clockIn+(now-w.clockAt)/1000 {
		return
	}
	w.clock.Store(micros*int64(time.Microsecond) - (w.asked + trip/2))
	w.clockAt, w.clockIn = now, trip
}

// serve runs what is queued until the connection fails.
func (w *writer) serve(ctx context.Context, conn *redisconn.Conn) error {
	w.mu.Lock()
	w.turn.Begin(conn)
	w.mu.Unlock()
	defer w.takeBack(ctx, conn)
	beat := time.NewTimer(beatInterval)
	defer beat.Stop()
	prune := time.NewTicker(max(min(maxPruneInterval, w.c.options.Expiry/4), minPruneInterval))
	defer prune.Stop()
	var beatDue, pruneDue bool
	for {
		next := w.take(beatDue || pruneDue)
		switch {
		case next.broken != nil:
			return w.complete(ctx, conn, next.pending, next.broken)
		case next.idle && next.closing, next.wait && ctx.Err() != nil:
			return nil
		case next.idle:
			var due <-chan time.Time
			if w.pruning {
				due = prune.C
			}
			select {
			case <-w.wake:
			case <-beat.C:
				beatDue = true
			case <-due:
				pruneDue = true
			case <-ctx.Done():
				return nil
			}
			continue
		case next.wait:
			select {
			case <-w.wake:
			case <-ctx.Done():
			}
			continue
		}
		if len(next.pending) > 0 {
			if err := w.complete(ctx, conn, next.pending, receive(conn, next.pending)); err != nil {
				return err
			}
			continue
		}
		if len(next.ops) > 0 {
			if err := w.round(ctx, conn, next.ops); err != nil {
				return err
			}
			w.tellLost()
		}
		if beatDue {
			if err := w.readClock(ctx, conn); err != nil {
				return err
			}
			beatDue = false
			beat.Reset(beatInterval)
		}
		select {
		case <-prune.C:
			pruneDue = true
		default:
		}
		if pruneDue {
			if err := w.prune(ctx, conn); err != nil {
				return err
			}
			pruneDue = false
		}
		if len(next.ops) > 1 {
			w.queued.Await(&w.mu, len(next.ops))
		}
	}
}

// fail ends all that is queued: it was certainly not sent.
func (w *writer) fail(cause error) {
	err := cause
	if !errors.Is(cause, layer.ErrClosed) {
		err = redisconn.Unavailable(cause)
	}
	w.mu.Lock()
	w.down = err
	ops := w.queued.TakeAll()
	w.mu.Unlock()
	for _, o := range ops {
		o.finish(err)
	}
}

func (w *writer) isClosing() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.closing
}

// cause is why calls fail now, or nil.
func (w *writer) cause() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.down
}

func (w *writer) nudge() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// close ends the writer's goroutine when all that was queued is written. It
// waits up to the timeout.
func (w *writer) close(timeout time.Duration) {
	w.mu.Lock()
	w.closing = true
	w.mu.Unlock()
	w.nudge()
	wait := time.NewTimer(timeout)
	defer wait.Stop()
	select {
	case <-w.done:
	case <-wait.C:
	}
}
