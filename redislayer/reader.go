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

	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/layer/codec"
)

// probeInterval is how long a read waits for entries before it returns empty:
// a reader that hears nothing for longer than that, and a second, is deaf, and
// connects anew.
const (
	probeInterval = time.Second
	probeGrace    = time.Second
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

	mu         sync.Mutex
	read       progress
	generation int // raised when the inbox is made anew: then senders count anew
	begun      chan struct{}

	// Only the reader's goroutine uses these.
	opener  *opener
	epochs  map[string]epoch
	untrim  int // handed over since the last trim
	untrimB int
}

// epoch is the highest that was seen of a sender, and when.
type epoch struct {
	highest uint64
	seen    int64
}

func newReader(l *Layer, source source) *reader {
	return &reader{
		l: l, source: source, begun: make(chan struct{}),
		opener: newOpener(l.keys.prefix, l.options.EncryptionKeys), epochs: map[string]epoch{},
	}
}

func (r *reader) progress() progress {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.read
}

// restart is told that the inbox was made anew, empty, above the position.
func (r *reader) restart(p readPosition) {
	r.mu.Lock()
	if r.generation++; r.generation == 1 {
		close(r.begun)
	}
	r.read = progress{readPosition: p, fetched: p}
	r.mu.Unlock()
}

// run is the reader's goroutine.
func (r *reader) run(ctx context.Context) {
	select {
	case <-r.begun:
	case <-ctx.Done():
		return
	}
	backoff := minBackoff
	for ctx.Err() == nil {
		c, err := r.source.connect(ctx, probeInterval+probeGrace, probeInterval+probeGrace)
		if err == nil {
			backoff = minBackoff
			err = r.readAll(ctx, c)
			c.close()
		}
		if ctx.Err() != nil {
			return
		}
		r.l.log.Warn("reader lost redis", "error", err)
		r.l.session.nudge()
		wait := time.NewTimer(backoff/2 + rand.N(backoff))
		select {
		case <-wait.C:
		case <-ctx.Done():
			wait.Stop()
		}
		backoff = min(2*backoff, maxBackoff)
	}
}

// readAll reads until the connection fails or ctx ends.
func (r *reader) readAll(ctx context.Context, c *conn) error {
	stop := context.AfterFunc(ctx, c.close) // a blocking command does not hear ctx
	defer stop()
	inbox := r.l.keys.inbox(r.l.process)
	for {
		r.mu.Lock()
		from, generation := r.read.readPosition, r.generation
		r.mu.Unlock()
		reply, err := c.Do(context.Background(), "XREAD", "COUNT", readCount, "BLOCK", probeInterval.Milliseconds(),
			"STREAMS", inbox, from.String()).Slice()
		if err != nil && !isReply(err) {
			return err
		}
		if staleServer(err) {
			r.source.reload(ctx)
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
			if err := r.entry(e, generation); err != nil {
				return err
			}
		}
		r.trim(len(entries) == 0)
		if ctx.Err() != nil {
			return nil
		}
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
func (r *reader) entry(entry any, generation int) error {
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
	if counted && generation == r.generation {
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

// inboxEntry is an entry of the inbox.
type inboxEntry struct {
	at       readPosition
	bytes    string
	messages int    // what its sender counted
	score    string // when it was accepted, in microseconds, if it comes from a queue
	control  bool
}

// handOver hands over what is in an entry. Its bytes may be anybody's: what
// cannot be read is counted, and the rest goes on.
func (r *reader) handOver(e inboxEntry) {
	l := r.l
	frames, late, err := r.framesOf(e)
	if err != nil {
		r.unreadable(e, err, e.messages)
		return
	}
	age := l.age(e)
	for n := 0; frames.more(); n++ {
		kind, name, body, err := frames.frame()
		switch {
		case err != nil:
			r.unreadable(e, err, max(1, e.messages-n))
			return
		case !kind.names(name):
			r.unreadable(e, fmt.Errorf("%.100q is not a name for a frame of kind %d", name, kind), 1)
		case late:
			l.drop(layer.DropLate, name, 1)
		case kind == kindRequest && e.control:
			l.requests.serve(name, body)
		case kind == kindReply && e.control:
			l.requests.answered(body)
		case kind == kindChannel && !e.control:
			if msg, ok := l.decode(name, body); ok {
				l.put(name, msg, age)
			}
		case kind == kindGroup && !e.control:
			if msg, ok := l.decode(name, body); ok {
				l.putGroup(name, msg, age)
			}
		case kind == kindQueue && e.score != "":
			if msg, ok := l.decode(name, body); ok {
				r.queued(name, msg, age, e)
			}
			l.queues.arrived(name)
		default:
			r.unreadable(e, fmt.Errorf("a frame of kind %d is not known here, or not in such an entry", kind), 1)
		}
	}
}

// unreadable counts what cannot be read. If it came for a receiver of a normal
// channel, Redis took that one off the list; which it was is not known, so
// Redis is told all of them again.
func (r *reader) unreadable(e inboxEntry, err error, messages int) {
	r.l.undecodable(err, messages)
	if e.score != "" {
		r.l.queues.tellAll()
	}
}

// framesOf reads an entry up to its frames, and opens them if they are sealed.
// late is whether the sender has given the entry up.
func (r *reader) framesOf(e inboxEntry) (frames entryReader, late bool, err error) {
	entry := []byte(e.bytes)
	frames.rest = entry
	h, err := frames.header()
	if err != nil {
		return frames, false, err
	}
	to := ""
	if e.control {
		to = r.l.process
	}
	if frames.rest, err = r.opener.open(h, entry[:len(entry)-len(frames.rest)], frames.rest, to); err != nil {
		return frames, false, err
	}
	return frames, !e.control && e.score == "" && r.fenced(h), nil
}

// queued hands a normal channel's message to a receiver, or gives it back.
func (r *reader) queued(channel string, msg layer.Message, age time.Duration, e inboxEntry) {
	switch {
	case age >= r.l.options.Limits.Expiry:
		r.l.drop(layer.DropExpired, channel, 1)
	case !r.l.mailboxes.HandOver(channel, msg):
		r.l.queues.giveBack(channel, e.score, []byte(e.bytes))
	}
}

// epochMemory is for how long a sender's epoch is remembered: longer than a
// server could hold a command back.
const epochMemory = int64(10 * time.Minute)

// fenced reports whether the sender has, since it sent this, given up waiting
// for what it sent before: then this was run late, and may have been overtaken.
func (r *reader) fenced(h header) bool {
	seen := r.epochs[h.sender]
	if h.epoch < seen.highest {
		return true
	}
	now := r.l.now()
	if len(r.epochs) > 1000 && seen.seen == 0 {
		for sender, e := range r.epochs {
			if now-e.seen > epochMemory {
				delete(r.epochs, sender)
			}
		}
	}
	r.epochs[h.sender] = epoch{h.epoch, now}
	return false
}

// decode checks a message's bytes. What cannot be read, or is too large, is
// counted.
func (l *Layer) decode(name string, body []byte) (layer.Message, bool) {
	msg, err := codec.Decode(body)
	if err != nil {
		l.drop(layer.DropUndecodable, name, 1)
		l.log.Debug("undecodable message", "for", name, "error", err)
		return msg, false
	}
	if msg.Size() > l.options.Limits.MaxMessageSize {
		l.drop(layer.DropOversized, name, 1)
		return msg, false
	}
	return msg, true
}
