package redislayer

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/redislayer/internal/link"
	"github.com/channellayer/channellayer/redislayer/internal/lua"
)

// lane is a connection to one master of a Cluster, and what waits to be written
// on it. What comes while a round trip is under way leaves together in the
// next. All that leaves together comes from callers that wait at the same
// time, so none of it has to keep an order; and what one sends after the other
// to an inbox keeps it, since an inbox is at one node.
type lane struct {
	c      *cluster
	addr   string
	source source
	sealer *sealer

	mu      sync.Mutex
	queued  []*task
	down    error // why the last attempt to connect failed; tasks fail at once
	closing error // why there are to be no more tasks
	wake    chan struct{}
	stop    chan struct{} // closed with closing
	done    chan struct{}
}

// laneCall is one command and what its reply means.
type laneCall struct {
	script lua.Script
	keys   []string
	args   []any
	ask    bool // the slot is on its way to this node
	tasks  []*task
	apply  func(call *laneCall, reply any)
	cmd    *redis.Cmd
}

func newLane(c *cluster, addr string) *lane {
	return &lane{
		c: c, addr: addr, source: c.source(addr),
		sealer: newSealer(c.l.keys.prefix, c.l.options.EncryptionKeys),
		wake:   make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{}),
	}
}

// errRetired is the error of a lane to a node that is no master any more: the
// task belongs to another.
var errRetired = errors.New("the node is no master any more")

func (ln *lane) enqueue(t *task) error {
	ln.mu.Lock()
	defer ln.mu.Unlock()
	if ln.closing != nil {
		return ln.closing
	}
	if ln.down != nil {
		return ln.down
	}
	ln.queued = append(ln.queued, t)
	if len(ln.queued) == 1 {
		select {
		case ln.wake <- struct{}{}:
		default:
		}
	}
	return nil
}

// run is the lane's goroutine. It ends after close or retire, or with ctx.
func (ln *lane) run(ctx context.Context) {
	defer close(ln.done)
	log := ln.c.l.log.With("addr", ln.addr)
	var backoff link.Backoff
	var outage link.Outage
	for ctx.Err() == nil && ln.isOpen() {
		conn, err := ln.open(ctx)
		if err == nil {
			backoff.Reset()
			outage.Over(log, "redis is there again")
			err = ln.serve(ctx, conn)
			conn.Close()
			if err != nil {
				log.Warn("connection to redis lost", "error", err)
				ln.c.kickRefresh()
			}
			continue
		}
		ln.fail(err)
		outage.Tell(log, "redis is away", err)
		ln.c.kickRefresh()
		backoff.Wait(ctx, ln.stop)
	}
	ln.end()
}

// open connects, and has what this process has at the node written again.
func (ln *lane) open(ctx context.Context) (*conn, error) {
	timeout := ln.c.l.options.Timeout
	conn, err := ln.source.connect(ctx, timeout, timeout)
	if err != nil {
		return nil, explain(err)
	}
	if err := ln.prepare(ctx, conn); err != nil {
		conn.Close()
		return nil, explain(err)
	}
	ln.mu.Lock()
	ln.down = nil
	ln.mu.Unlock()
	ln.c.tellAgain(ln.addr)
	return conn, nil
}

func (ln *lane) prepare(ctx context.Context, conn *conn) error {
	if _, err := conn.runID(ctx); err != nil {
		return err
	}
	if err := conn.loadScripts(ctx); err != nil {
		return err
	}
	if key, ok := ln.c.keyAt(ln.addr); ok {
		err := conn.checkRights(ctx, ln.c.l.keys, key)
		if err != nil && !link.StaleServer(err) && !redis.HasErrorPrefix(err, "TRYAGAIN") {
			return err
		}
	}
	return nil
}

// serve does what is queued until the connection fails, or nothing more comes.
func (ln *lane) serve(ctx context.Context, conn *conn) error {
	interval := ln.c.l.options.Lease / 3
	probe := time.NewTimer(interval)
	defer probe.Stop()
	for {
		tasks := ln.take()
		if len(tasks) > 0 {
			if err := ln.flush(ctx, conn, tasks); err != nil {
				return err
			}
			continue
		}
		if !ln.isOpen() && ln.isEmpty() {
			return nil
		}
		select {
		case <-ln.wake:
		case <-ln.stop:
			select { // what is queued has been, or comes with wake
			case <-ln.wake:
			default:
			}
		case <-probe.C: // finds out that the connection is gone, before a task does
			if err := conn.Ping(ctx).Err(); err != nil {
				return err
			}
			probe.Reset(interval)
		case <-ctx.Done():
			return nil
		}
	}
}

// Bounds of one round trip.
const (
	maxLaneTasks = 8192
	maxLaneBytes = 16 << 20
)

// take takes what is queued, within the bounds of a round trip.
func (ln *lane) take() (tasks []*task) {
	ln.mu.Lock()
	defer ln.mu.Unlock()
	bytes := 0
	for len(ln.queued) > 0 && len(tasks) < maxLaneTasks {
		t := ln.queued[0]
		if bytes += len(t.body); len(tasks) > 0 && bytes > maxLaneBytes {
			break
		}
		ln.queued[0] = nil
		ln.queued = ln.queued[1:]
		if t.take() {
			tasks = append(tasks, t)
		}
	}
	return tasks
}

// flush does tasks in one round trip. The error is that of the connection;
// every task is finished, or queued again, whatever happens.
func (ln *lane) flush(ctx context.Context, conn *conn, tasks []*task) error {
	calls := ln.plan(tasks)
	broken := ln.exchange(ctx, conn, calls)
	if broken == nil {
		broken = ln.exchangeForgotten(ctx, conn, calls)
	}
	for _, call := range calls {
		ln.settle(call)
	}
	return broken
}

// plan makes the calls: everything for one destination in as few as possible.
func (ln *lane) plan(tasks []*task) []*laneCall {
	at := map[batch]int{}
	var batches [][]*task
	for _, t := range tasks {
		b := t.batch()
		i, ok := at[b]
		if !ok {
			i = len(batches)
			at[b] = i
			batches = append(batches, nil)
		}
		batches[i] = append(batches[i], t)
	}
	var calls []*laneCall
	for _, b := range batches {
		for len(b) > 0 {
			n := fillTasks(b, ln.c.l.options.InboxCapacity)
			calls = append(calls, ln.callFor(b[:n:n]))
			b = b[n:]
		}
	}
	return calls
}

// exchange sends the commands and reads the replies.
func (ln *lane) exchange(ctx context.Context, conn *conn, calls []*laneCall) error {
	conn.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, call := range calls {
			if call.ask {
				p.Do(ctx, "ASKING")
			}
			call.cmd = redis.NewCmd(ctx, call.script.Words(call.keys, call.args...)...)
			p.Process(ctx, call.cmd)
		}
		return nil
	})
	for _, call := range calls {
		if err := call.cmd.Err(); err != nil && !link.IsReply(err) {
			ln.c.epoch.Add(1) // what the server runs late must not overtake what comes next
			return err
		}
	}
	return nil
}

// exchangeForgotten does again those calls whose script the server had
// forgotten.
func (ln *lane) exchangeForgotten(ctx context.Context, conn *conn, calls []*laneCall) error {
	var forgotten []*laneCall
	for _, call := range calls {
		if redis.HasErrorPrefix(call.cmd.Err(), "NOSCRIPT") {
			forgotten = append(forgotten, call)
		}
	}
	if len(forgotten) == 0 {
		return nil
	}
	if err := conn.loadScripts(ctx); err != nil {
		return err
	}
	return ln.exchange(ctx, conn, forgotten)
}

// fail ends all that is queued: it was certainly not run.
func (ln *lane) fail(cause error) {
	err := unavailable(fmt.Errorf("%s: %w", ln.addr, cause))
	ln.mu.Lock()
	ln.down = err
	tasks := ln.queued
	ln.queued = nil
	ln.mu.Unlock()
	for _, t := range tasks {
		t.finish(err, false, nil)
	}
}

// end ends all that is queued, or has another lane do it.
func (ln *lane) end() {
	ln.mu.Lock()
	if ln.closing == nil {
		ln.closing = layer.ErrClosed
	}
	err := ln.closing
	tasks := ln.queued
	ln.queued = nil
	ln.mu.Unlock()
	for _, t := range tasks {
		if err == errRetired {
			if err := ln.c.enqueue(t); err != nil {
				t.finish(err, false, nil)
			}
			continue
		}
		t.finish(err, false, nil)
	}
}

// close ends the lane when all that is queued is done.
func (ln *lane) close() { ln.shut(layer.ErrClosed) }

// retire ends the lane: the node is no master any more.
func (ln *lane) retire() { ln.shut(errRetired) }

func (ln *lane) shut(why error) {
	ln.mu.Lock()
	defer ln.mu.Unlock()
	if ln.closing == nil {
		ln.closing = why
		close(ln.stop)
	}
}

func (ln *lane) isOpen() bool {
	ln.mu.Lock()
	defer ln.mu.Unlock()
	return ln.closing == nil
}

// cause is why tasks fail now, or nil.
func (ln *lane) cause() error {
	ln.mu.Lock()
	defer ln.mu.Unlock()
	return ln.down
}

func (ln *lane) isEmpty() bool {
	ln.mu.Lock()
	defer ln.mu.Unlock()
	return len(ln.queued) == 0
}
