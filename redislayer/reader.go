package redislayer

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// probeInterval is how long a read waits for entries before it returns empty:
// a reader that hears nothing for longer than that, and a second, is deaf, and
// connects anew.
const (
	probeInterval = time.Second
	probeGrace    = time.Second
	maxPatience   = 16 * time.Second // in place of the grace, after reads that failed
)

// readCount is how many entries one read takes at most.
const readCount = 256

// readPosition is an id of a stream entry.
type readPosition struct{ ms, seq uint64 }

func (p readPosition) String() string {
	return strconv.FormatUint(p.ms, 10) + "-" + strconv.FormatUint(p.seq, 10)
}

func (p readPosition) before(q readPosition) bool {
	return p.ms < q.ms || p.ms == q.ms && p.seq < q.seq
}

func (p readPosition) next() readPosition { return readPosition{p.ms, p.seq + 1} }

func parsePosition(id string) (readPosition, error) {
	ms, seq, _ := strings.Cut(id, "-")
	m, err := strconv.ParseUint(ms, 10, 64)
	if err != nil {
		return readPosition{}, err
	}
	s, err := strconv.ParseUint(seq, 10, 64)
	return readPosition{m, s}, err
}

// progress is how far a reader has come: the last entry handed over, the last
// one that it has fetched, and how much it has handed over of what senders
// counted.
type progress struct {
	readPosition
	fetched         readPosition
	messages, bytes uint64
}

// reader reads the inbox and hands over what it finds. One goroutine and one
// connection. Reading consumes nothing: after a lost reply it reads again from
// where it was, and nothing is handed over twice.
type reader struct {
	l      *Layer
	source source

	mu       sync.Mutex
	read     progress
	made     readPosition // ids above it are of the inbox as it was last made
	complete time.Time    // what was accepted before then has been handed over
	vouched  time.Time    // complete, when the session last found the inbox
	begun    chan struct{}

	cancel context.CancelFunc // ends the goroutine
	done   chan struct{}      // closed when it has ended

	// Only the reader's goroutine uses these.
	opener   *opener
	epochs   map[string]epoch
	count    int           // entries to read at once, at most
	patience time.Duration // beyond probeInterval, for a reply
	untrim   int           // handed over since the last trim
	untrimB  int
}

// epoch is the highest that was seen of a sender, and when.
type epoch struct {
	highest uint64
	seen    int64
}

func newReader(l *Layer, source source) *reader {
	return &reader{
		l: l, source: source, begun: make(chan struct{}), done: make(chan struct{}),
		opener: newOpener(l.keys.prefix, l.options.EncryptionKeys), epochs: map[string]epoch{},
		count: readCount, patience: probeGrace,
	}
}

func (r *reader) progress() progress {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.read
}

// readAllAt is when the reader had handed over all there was, as of the last
// time that the inbox was found to be there; zero before the first.
func (r *reader) readAllAt() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.vouched
}

// vouch is told that the inbox was there until now: what the reader read came
// from it, and not from an empty server in its place.
func (r *reader) vouch() {
	r.mu.Lock()
	r.vouched = r.complete
	r.mu.Unlock()
}

// restart is told that the inbox was made anew, empty, with ids above p: senders
// count anew. The position does not go back: what is new may have been read
// before this was told.
func (r *reader) restart(p readPosition) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.made == (readPosition{}) {
		close(r.begun)
	}
	r.made, r.complete = p, time.Now()
	r.read.messages, r.read.bytes = 0, 0
	if r.read.before(p) {
		r.read.readPosition = p
	}
	if r.read.fetched.before(p) {
		r.read.fetched = p
	}
}

// run is the reader's goroutine.
func (r *reader) run(ctx context.Context) {
	defer close(r.done)
	select {
	case <-r.begun:
	case <-ctx.Done():
		return
	}
	backoff := minBackoff
	for ctx.Err() == nil {
		c, err := r.source.connect(ctx, probeInterval+probeGrace, probeInterval+r.patience)
		if err == nil {
			backoff = minBackoff
			err = r.readAll(ctx, c)
			c.close()
		}
		if ctx.Err() != nil {
			return
		}
		r.l.log.Warn("reader lost redis", "error", err)
		r.l.session.enqueue(&op{what: opPing}) // it may have lost redis too, and would find out with the next heartbeat
		wait := time.NewTimer(backoff/2 + rand.N(backoff))
		select {
		case <-wait.C:
		case <-ctx.Done():
			wait.Stop()
		}
		backoff = min(2*backoff, maxBackoff)
	}
}

// finish ends the reader's goroutine and hands over what is left in the inbox,
// on the connection of its caller.
func (r *reader) finish(ctx context.Context, c *conn) error {
	r.cancel()
	select {
	case <-r.done:
	case <-ctx.Done():
		return ctx.Err()
	}
	inbox := r.l.keys.inbox(r.l.process)
	for {
		entries, err := c.Do(ctx, "XRANGE", inbox, "("+r.progress().String(), "+", "COUNT", r.count).Slice()
		if err != nil || len(entries) == 0 {
			return err
		}
		for _, e := range entries {
			if err := r.entry(e); err != nil {
				return err
			}
		}
	}
}

// readAll reads until the connection fails or ctx ends.
func (r *reader) readAll(ctx context.Context, c *conn) error {
	inbox := r.l.keys.inbox(r.l.process)
	for {
		asked := time.Now()
		reply, err := c.Do(context.Background(), "XREAD", "COUNT", r.count, "BLOCK", probeInterval.Milliseconds(),
			"STREAMS", inbox, r.progress().String()).Slice()
		if err != nil && err != redis.Nil {
			r.shrink(err)
			if staleServer(err) {
				r.source.reload(ctx)
			}
			return err
		}
		entries := entriesOf(reply)
		if len(entries) > 0 {
			last, err := idOf(entries[len(entries)-1])
			if err != nil {
				return err
			}
			r.mu.Lock()
			if r.read.fetched.before(last) {
				r.read.fetched = last
			}
			r.mu.Unlock()
		}
		for _, e := range entries {
			if err := r.entry(e); err != nil {
				return err
			}
		}
		if len(entries) < r.count {
			r.mu.Lock()
			r.complete = asked
			r.mu.Unlock()
		}
		r.count, r.patience = min(2*r.count, readCount), probeGrace
		r.trim(len(entries) == 0)
		if ctx.Err() != nil {
			return nil
		}
	}
}

// shrink makes the next reply smaller, and waits for it longer, after one that
// did not come in time: on a slow network it may have been too large for that.
func (r *reader) shrink(err error) {
	if isTimeout(err) {
		r.count = max(1, r.count/4)
		r.patience = min(2*r.patience, maxPatience)
	}
}

// entriesOf finds the entries in the reply of XREAD on one stream.
func entriesOf(reply []any) []any {
	if len(reply) == 0 {
		return nil
	}
	stream, _ := reply[0].([]any)
	if len(stream) < 2 {
		return nil
	}
	entries, _ := stream[1].([]any)
	return entries
}

// idOf returns the id of an entry, which has two parts.
func idOf(entry any) (readPosition, error) {
	parts, _ := entry.([]any)
	if len(parts) != 2 {
		return readPosition{}, errors.New("redislayer: XREAD gave an entry that is none")
	}
	id, _ := parts[0].(string)
	at, err := parsePosition(id)
	if err != nil {
		return at, fmt.Errorf("redislayer: XREAD gave the id %q: %w", id, err)
	}
	return at, nil
}

// entry hands over one entry and moves the position behind it.
func (r *reader) entry(entry any) error {
	at, err := idOf(entry)
	if err != nil {
		return err
	}
	parts := entry.([]any)
	fields, _ := parts[1].([]any)
	e := inboxEntry{at: at, messages: 1}
	for i := 0; i+1 < len(fields); i += 2 {
		value, _ := fields[i+1].(string)
		switch fields[i] {
		case "e":
			e.bytes = value
		case "c":
			e.bytes, e.control = value, true
		case "s":
			e.score = value
		case "n":
			n, _ := strconv.Atoi(value)
			e.messages = min(max(n, 1), maxEntryMessages)
		}
	}
	if e.bytes != "" {
		r.handOver(e)
	}
	r.mu.Lock()
	if r.read.before(at) {
		r.read.readPosition = at
	}
	counted := !e.control && e.score == "" && e.bytes != ""
	if counted && r.made.before(at) {
		r.read.messages += uint64(e.messages)
		r.read.bytes += uint64(len(e.bytes))
	}
	r.mu.Unlock()
	r.untrim += e.messages
	r.untrimB += len(e.bytes)
	return nil
}

// trim removes at Redis what was handed over: now and then, and when idle.
func (r *reader) trim(idle bool) {
	o := r.l.options
	if r.untrim == 0 || !idle && r.untrim < min(1000, o.InboxCapacity/8+1) && r.untrimB < o.InboxBytes/8 {
		return
	}
	if r.l.session.enqueue(&op{what: opTrim}) == nil {
		r.untrim, r.untrimB = 0, 0
	}
}
