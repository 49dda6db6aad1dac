package channelsredis

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/channellayer/channellayer/redislayer/channelsredis/internal/redisconn"
	"github.com/channellayer/channellayer/redislayer/internal/backlog"
	"github.com/channellayer/channellayer/redislayer/internal/link"
	"github.com/channellayer/channellayer/redislayer/internal/pace"
	"github.com/channellayer/channellayer/redislayer/internal/resp"
)

// popper takes messages out of queues at one host. One goroutine and one
// connection, which waits at the server for any of the queues to have
// something. It has two uses: one reads the queues of this process, the other
// those of normal channels that somebody here receives from.
type popper struct {
	c    *Core
	w    *writer // of the same host; ends the waiting
	log  *slog.Logger
	wake chan struct{} // has room for one

	// want returns the queues to take from, and how many messages at most.
	want func() (keys []string, count int)
	// gathers says that what comes close upon the other may gather in the queue,
	// which is read by nobody else.
	gathers bool
	// take is given what was taken from one queue, oldest first, and returns
	// what is to be given back.
	take func(w *writer, key string, got []entry) (back []entry)

	taken *backlog.Bounds

	mu      sync.Mutex
	listed  []string        // the queues that the command under way takes from
	stale   bool            // they are others now
	waiting int64           // the connection that waits, or 0
	conn    *redisconn.Conn // the last one
	down    error           // why the last attempt to connect failed

	connected atomic.Bool
	closing   atomic.Bool
	done      chan struct{}

	// Only the popper's goroutine uses these.
	out   []byte
	last  int64     // the id of the last connection
	runID string    // of its server
	old   bool      // the server is older than 7.0, which has BZMPOP
	heard time.Time // when the server last answered
	round time.Time // when the queues to take from were last asked for

	foreign  map[string]bool // see usable
	lookedAt time.Time
}

// entry is one message of a queue.
type entry struct {
	member, score string
}

// A pop waits at the server for so long: a connection that says nothing for
// longer than that, and the grace, is deaf, and another is made. Together with
// stallGrace these are two seconds.
const (
	popBlock = time.Second
	popGrace = time.Second - stallGrace

	popSeconds = int(popBlock / time.Second)
)

func newPopper(c *Core, w *writer, want func() ([]string, int), take func(*writer, string, []entry) []entry) *popper {
	return &popper{
		c: c, w: w, log: w.log, want: want, take: take, wake: make(chan struct{}, 1), done: make(chan struct{}),
		taken: backlog.New(c.options.Expiry), round: time.Now(),
	}
}

// poke makes the popper look again at which queues it is to take from.
func (p *popper) poke() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
	p.mu.Lock()
	p.stale = true
	id := p.waiting
	p.mu.Unlock()
	if id != 0 {
		p.unblock(id)
	}
}

// unblockAgain is when a command that had not come to the server is looked for
// there again.
const unblockAgain = time.Millisecond

// unblock ends the waiting at the server. If the command that was about to wait
// had not come there, it is tried again.
func (p *popper) unblock(id int64) {
	p.w.enqueue(&op{what: opUnblock, id: id, then: func(o *op) {
		p.mu.Lock()
		again := o.err == nil && o.count == 0 && p.stale && p.waiting == id
		p.mu.Unlock()
		if again {
			time.AfterFunc(unblockAgain, func() { p.unblock(id) })
		}
	}})
}

// lists reports whether the command under way takes from the queue, or the
// next will.
func (p *popper) lists(key string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.stale && slices.Contains(p.listed, key)
}

// rotated is the list from a random place on: the server looks at queues in order,
// and a map's own order is far from even.
func rotated(keys []string) []string {
	if len(keys) < 2 {
		return keys
	}
	n := rand.IntN(len(keys))
	return slices.Concat(keys[n:], keys[:n])
}

// run is the popper's goroutine.
func (p *popper) run(ctx context.Context) {
	defer close(p.done)
	var backoff link.Backoff
	var outage link.Outage
	for ctx.Err() == nil && !p.closing.Load() {
		conn, err := redisconn.Connect(ctx, p.w.settings, max(p.c.options.Timeout, popBlock+popGrace), popBlock+popGrace)
		if err == nil {
			if err = endLast(ctx, conn, p.last, p.runID); err == nil {
				p.meet(conn)
				p.w.enqueue(&op{what: opTime}) // after which losses are told
				p.connected.Store(true)
				outage.Over(p.log, "reader has redis again")
				err = p.serve(ctx, conn, &backoff)
				p.connected.Store(false)
			}
			conn.Close()
		}
		p.setDown(err)
		if err == nil || ctx.Err() != nil {
			continue
		}
		outage.Tell(p.log, "reader lost redis", err)
		backoff.Wait(ctx, p.wake)
	}
}

func (p *popper) setDown(err error) {
	p.mu.Lock()
	p.down, p.waiting = err, 0
	p.mu.Unlock()
}

// failure is why nothing can be taken now, or nil.
func (p *popper) failure() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.down
}

// serve takes messages until the connection fails, the popper is to end, or
// there is nothing that it should take.
func (p *popper) serve(ctx context.Context, conn *redisconn.Conn, backoff *link.Backoff) error {
	var gathering pace.Pace
	gather := time.NewTimer(0)
	defer gather.Stop()
	for ctx.Err() == nil && !p.closing.Load() {
		p.mu.Lock()
		p.stale = false
		p.mu.Unlock()
		last := p.round
		p.round = time.Now()
		wanted, count := p.want()
		wanted = rotated(wanted)
		p.begin(wanted, last)
		keys, err := p.usable(ctx, conn, wanted)
		if err != nil {
			return err
		}
		p.mu.Lock()
		if len(p.foreign) == 0 {
			p.down = nil
		}
		p.listed, p.waiting = keys, conn.ID
		stale := p.stale
		if stale || len(keys) == 0 {
			p.listed, p.waiting = nil, 0
		}
		p.mu.Unlock()
		if stale {
			continue
		}
		if len(keys) == 0 {
			if err := p.idle(ctx, conn); err != nil {
				return err
			}
			continue
		}
		began := time.Now()
		key, got, err := p.pop(conn, keys, count)
		if err == nil {
			p.heard = time.Now()
			p.reached(began, keys, key, got, count)
		}
		p.mu.Lock()
		p.listed, p.waiting = nil, 0
		p.mu.Unlock()
		if len(got) > 0 {
			backoff.Reset()
			back := p.take(p.w, key, got)
			p.givingBack(began, key, back)
			p.giveBack(conn, key, back)
			if len(got) == 1 {
				// The receiver that was woken runs now: otherwise it waits until
				// the next command is written, or another thread wakes for it
				// (at 200 messages a second a tenth of a message's way).
				runtime.Gosched()
			}
		}
		if err == nil {
			// A queue that fills quickly is not let fill further.
			if p.gathers && gathering.Next(time.Now(), len(got)) && len(got) < min(maxPop, p.c.options.Capacity)/4 {
				gather.Reset(pace.Wait)
				select {
				case <-gather.C:
				case <-ctx.Done():
				}
			}
			continue
		}
		if redis.HasErrorPrefix(err, "unknown command") && !p.old {
			p.old = true
			continue
		}
		if isWrongType(err) {
			if err := p.look(ctx, conn, wanted); err != nil {
				return err
			}
			if len(p.foreign) > 0 {
				continue
			}
		}
		if !link.IsReply(err) && ctx.Err() == nil {
			p.w.lose(p.runID, p.taken.Oldest(began, keys), "the connection that read from redis was lost")
		}
		return redisconn.Explain(err)
	}
	return nil
}

// idleCheck is how often a connection that has nothing to wait for is tried.
const idleCheck = 30 * time.Second

// idle waits until there may be something to take.
func (p *popper) idle(ctx context.Context, conn *redisconn.Conn) error {
	interval := idleCheck
	if len(p.foreign) > 0 {
		interval = foreignAgain
	}
	check := time.NewTimer(interval)
	defer check.Stop()
	select {
	case <-p.wake:
		return nil
	case <-ctx.Done():
		return nil
	case <-check.C:
		err := conn.Ping(ctx).Err()
		if err == nil {
			p.heard = time.Now()
		}
		return err
	}
}

var errReply = errors.New("channelsredis: redis gave a reply that is none")

// pop takes up to count messages from the first of the queues that has any, and
// waits for one. Beside messages, there may be an error.
func (p *popper) pop(conn *redisconn.Conn, keys []string, count int) (key string, got []entry, err error) {
	if p.old {
		return p.popOld(conn, keys, count)
	}
	words := make([]any, 0, 6+len(keys))
	words = append(words, "BZMPOP", popSeconds, len(keys))
	for _, key := range keys {
		words = append(words, key)
	}
	reply, err := p.ask(conn, append(words, "MIN", "COUNT", count)...)
	if err != nil || reply == nil {
		return "", nil, err
	}
	if len(reply) == 2 {
		key, _ = reply[0].(string)
	}
	if !slices.Contains(keys, key) {
		return "", nil, errReply
	}
	for _, pair := range list(reply, 1) {
		pair, _ := pair.([]any)
		if got, err = appendEntry(got, pair); err != nil {
			return key, got, err
		}
	}
	if len(got) == 0 {
		err = errReply
	}
	return key, got, err
}

// popOld does what pop does on Redis 6.2.
func (p *popper) popOld(conn *redisconn.Conn, keys []string, count int) (key string, got []entry, err error) {
	words := []any{"BZPOPMIN"}
	for _, key := range keys {
		words = append(words, key)
	}
	reply, err := p.ask(conn, append(words, popSeconds)...)
	if err != nil || reply == nil {
		return "", nil, err
	}
	if len(reply) == 3 {
		key, _ = reply[0].(string)
	}
	if !slices.Contains(keys, key) {
		return "", nil, errReply
	}
	if got, err = appendEntry(nil, reply[1:]); err != nil || count == 1 {
		return key, got, err
	}
	more, err := p.ask(conn, "ZPOPMIN", key, count-1)
	for ; err == nil && len(more) >= 2; more = more[2:] {
		got, err = appendEntry(got, more[:2])
	}
	return key, got, err
}

// ask makes a round trip whose reply is a list, or nil. What was popped is on the
// way only: for as long as it comes, however slowly, it is waited for, and where
// this process stood still until the deadline had passed, it is there.
func (p *popper) ask(conn *redisconn.Conn, words ...any) ([]any, error) {
	p.out = resp.AppendRequest(p.out[:0], words...)
	if err := conn.Pipe.Write(p.out, popBlock+popGrace); err != nil {
		return nil, err
	}
	reply, err := conn.Pipe.FetchSlowly(popBlock + popGrace)
	if resp.IsTimeout(err) {
		conn.Pipe.Extend(stallGrace)
		reply, err = conn.Pipe.FetchSlowly(popBlock + popGrace)
	}
	if err != nil {
		return nil, err
	}
	value, err := resp.Read(reply)
	values, ok := value.([]any)
	if err == nil && value != nil && !ok {
		err = errReply
	}
	return values, err
}

func appendEntry(got []entry, pair []any) ([]entry, error) {
	if len(pair) == 2 {
		member, ok1 := pair[0].(string)
		score, ok2 := pair[1].(string)
		if ok1 && ok2 {
			return append(got, entry{member, score}), nil
		}
	}
	return got, errReply
}

// giveBack puts messages back to where they were taken from. It does so before
// more is taken, so that order is kept.
func (p *popper) giveBack(conn *redisconn.Conn, key string, back []entry) {
	if len(back) == 0 {
		return
	}
	args := []any{p.c.queueTTL()}
	for _, e := range back {
		args = append(args, e.score, e.member)
	}
	ctx := context.Background()
	words := backScript.Words([]string{key}, args...)
	err := conn.Do(ctx, words...).Err()
	if redis.HasErrorPrefix(err, "NOSCRIPT") {
		if err = loadScripts(ctx, conn); err == nil {
			err = conn.Do(ctx, words...).Err()
		}
	}
	if err != nil {
		p.c.lateBack(key, len(back), err)
	}
}

// close ends the popper's goroutine. What it has taken by then is delivered.
func (p *popper) close() {
	p.closing.Store(true)
	p.poke()
}
