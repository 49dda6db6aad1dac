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

// cluster is what a layer on a Redis Cluster has besides its session: that one
// keeps the lease, with a connection to the node of the inbox, and all that
// concerns groups, normal channels and other processes' inboxes goes through
// lanes, one for each master.
type cluster struct {
	l      *Layer
	client *redis.ClusterClient // the layer's own; see newSlots
	lines  *lines               // normal channels

	epoch    atomic.Uint64 // of this process, whatever the lane
	sequence atomic.Uint64

	kick  chan struct{} // the map of slots may be out of date; has room for one
	tried chan struct{} // closed when the map was read, or could not be, for the first time

	refreshing chan struct{} // has room for one, who refreshes

	mu      sync.Mutex
	lanes   map[string]*lane // by address; one for each master there is
	moved   map[string]moved // by hash tag, since the map of slots was last read
	cause   error            // why there is no map yet
	ending  bool             // no more calls
	ended   bool             // no more lanes
	calls   int              // under way
	idle    chan struct{}    // closed when ending, and there are none
	ctx     context.Context  // ends with the layer
	running sync.WaitGroup   // lanes, and tasks that wait to be tried again
}

// moved is where a server said that a slot is.
type moved struct {
	addr string
	at   time.Time
}

func newCluster(l *Layer, configured *redis.ClusterOptions) *cluster {
	c := &cluster{
		l: l, client: newSlots(configured, l.options.Timeout),
		refreshing: make(chan struct{}, 1), kick: make(chan struct{}, 1), tried: make(chan struct{}), idle: make(chan struct{}),
		lanes: map[string]*lane{}, moved: map[string]moved{}, cause: errNoSlots,
	}
	c.lines = newLines(c)
	return c
}

var errNoSlots = errors.New("the cluster's slots are not known yet")

// refreshInterval is how often the map of slots is read without a cause.
const refreshInterval = 10 * time.Second

// run keeps the map of slots, and a lane for each master.
func (c *cluster) run(ctx context.Context) {
	refresh := time.NewTicker(refreshInterval)
	defer refresh.Stop()
	beat := time.NewTicker(c.l.options.Lease / 3)
	defer beat.Stop()
	c.refresh(ctx)
	close(c.tried)
	for {
		select {
		case <-c.kick:
			c.refresh(ctx)
			wait := time.NewTimer(link.MinBackoff)
			select {
			case <-wait.C:
			case <-ctx.Done():
			}
			wait.Stop()
		case <-refresh.C:
			c.refresh(ctx)
		case <-beat.C:
			c.lines.tellAll()
		case <-ctx.Done():
			c.mu.Lock()
			c.ended = true
			c.mu.Unlock()
			c.running.Wait()
			return
		}
	}
}

func (c *cluster) kickRefresh() {
	select {
	case c.kick <- struct{}{}:
	default:
	}
}

// refresh reads the map of slots, and makes and ends lanes so that there is one
// for each master.
func (c *cluster) refresh(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, c.l.options.Timeout)
	defer cancel()
	select {
	case c.refreshing <- struct{}{}:
		defer func() { <-c.refreshing }()
	case <-ctx.Done():
		return
	}
	began := time.Now()
	var mu sync.Mutex
	masters := map[string]bool{}
	err := c.client.ForEachMaster(ctx, func(_ context.Context, node *redis.Client) error {
		mu.Lock()
		masters[node.Options().Addr] = true
		mu.Unlock()
		return nil
	})
	c.mu.Lock()
	if err != nil || len(masters) == 0 {
		if len(c.lanes) == 0 && err != nil {
			c.cause = err
		}
		c.mu.Unlock()
		return
	}
	c.cause = nil
	for tag, m := range c.moved {
		if m.at.Before(began) {
			delete(c.moved, tag)
		}
	}
	var ended []*lane
	for addr, ln := range c.lanes {
		if !masters[addr] {
			delete(c.lanes, addr)
			ended = append(ended, ln)
		}
	}
	for addr := range masters {
		c.laneLocked(addr)
	}
	c.mu.Unlock()
	for _, ln := range ended {
		ln.retire()
	}
}

// laneLocked returns the lane to an address, which it makes if need be, or nil
// if there will be none any more.
func (c *cluster) laneLocked(addr string) *lane {
	ln := c.lanes[addr]
	if ln == nil && !c.ended {
		ln = newLane(c, addr)
		c.lanes[addr] = ln
		c.running.Go(func() { ln.run(c.ctx) })
	}
	return ln
}

// laneFor returns the lane to the node at which a task is to be done.
func (c *cluster) laneFor(t *task) (*lane, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cause != nil {
		return nil, unavailable(c.cause)
	}
	addr := t.ask
	if addr == "" {
		var err error
		if addr, err = c.addrLocked(t.where); err != nil {
			return nil, unavailable(err)
		}
	}
	if ln := c.laneLocked(addr); ln != nil {
		return ln, nil
	}
	return nil, layer.ErrClosed
}

// addrLocked returns the address of the master that has the keys with this tag.
// Once the slots are known it does not wait for a server.
func (c *cluster) addrLocked(tag string) (string, error) {
	if m, ok := c.moved[tag]; ok {
		return m.addr, nil
	}
	node, err := c.client.MasterForKey(c.ctx, "{"+tag+"}")
	if err != nil {
		return "", err
	}
	return node.Options().Addr, nil
}

// noteMoved is told where a server said that a slot is.
func (c *cluster) noteMoved(tag, addr string) {
	c.mu.Lock()
	c.moved[tag] = moved{addr, time.Now()}
	c.mu.Unlock()
	c.kickRefresh()
}

// home returns how to connect to the node of this process's inbox.
func (c *cluster) home() source {
	key := c.l.keys.inbox(c.l.name)
	return newHome(c, key)
}

// source returns how to connect to the node at an address, with the settings of
// the client.
func (c *cluster) source(addr string) source {
	return source{
		options: func(ctx context.Context) (*redis.Options, error) {
			node, err := c.client.MasterForKey(ctx, addr) // any node's: all have the same
			if err != nil {
				return nil, err
			}
			o := *node.Options()
			o.Addr = addr
			return &o, nil
		},
	}
}

// sources returns how to connect to each master.
func (c *cluster) sources() (all []source) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, ln := range c.lanes {
		all = append(all, ln.source)
	}
	return all
}

// enqueue hands a task to the lane for it.
func (c *cluster) enqueue(t *task) error {
	for {
		ln, err := c.laneFor(t)
		if err != nil {
			return err
		}
		if err := ln.enqueue(t); err != errRetired {
			return err
		}
	}
}

// do runs a task and waits until it is done or ctx ends. Every error tells its
// outcome.
func (c *cluster) do(ctx context.Context, t *task) error {
	err, maybe := c.try(ctx, t)
	if maybe {
		return layer.MaybeSent(err)
	}
	return layer.NotSent(err)
}

// try is do with the outcome beside the error.
func (c *cluster) try(ctx context.Context, t *task) (err error, maybe bool) {
	if !c.begin() {
		return layer.ErrClosed, false
	}
	defer c.end()
	timeout := time.NewTimer(c.l.options.Timeout)
	defer timeout.Stop()
	select {
	case <-c.tried:
	case <-ctx.Done():
		return ctx.Err(), false
	case <-timeout.C:
		return unavailable(caller.ErrTimeout), false
	}
	t.done = make(chan struct{}, 1)
	if err := c.enqueue(t); err != nil {
		return err, false
	}
	select {
	case <-t.done:
		return t.err, t.maybe
	case <-ctx.Done():
		err = ctx.Err()
	case <-timeout.C:
		err = unavailable(caller.ErrTimeout)
	}
	if t.state.Swap(taskLeft) == taskQueued {
		return err, false
	}
	select {
	case <-t.done: // it was finished just now
		return t.err, t.maybe
	default:
		return err, true
	}
}

// away returns why a master is away, if one is.
func (c *cluster) away() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, ln := range c.lanes {
		if err := ln.cause(); err != nil {
			return err
		}
	}
	return nil
}

func (c *cluster) begin() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ending {
		return false
	}
	c.calls++
	return true
}

func (c *cluster) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.calls--; c.calls == 0 && c.ending {
		close(c.idle)
	}
}

// close does what is under way, removes what this process has at Redis, and
// ends the lanes. It takes the timeout at most.
func (c *cluster) close(timeout time.Duration) {
	began := time.Now()
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	c.finishCalls(ctx)
	c.l.session.close(max(0, timeout-time.Since(began)))
	c.closeLanes(ctx)
}

// finishCalls refuses new calls, waits for those under way, and gives back what
// normal channels have for this process. It ends with ctx.
func (c *cluster) finishCalls(ctx context.Context) {
	c.mu.Lock()
	c.ending = true
	if c.calls == 0 {
		close(c.idle)
	}
	c.mu.Unlock()
	select {
	case <-c.idle:
	case <-ctx.Done():
	}
	c.lines.finish(ctx)
}

// closeLanes lets the lanes do what they still have to, and ends them.
func (c *cluster) closeLanes(ctx context.Context) {
	c.mu.Lock()
	var all []*lane
	for _, ln := range c.lanes {
		all = append(all, ln)
	}
	c.mu.Unlock()
	for _, ln := range all {
		ln.close()
	}
	for _, ln := range all {
		select {
		case <-ln.done:
		case <-ctx.Done():
		}
	}
}
