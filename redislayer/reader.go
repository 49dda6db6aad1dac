package redislayer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/channellayer/channellayer/redislayer/internal/link"
	"github.com/channellayer/channellayer/redislayer/internal/pace"
	"github.com/channellayer/channellayer/redislayer/internal/resp"
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

func parsePosition(id []byte) (readPosition, error) {
	ms, seq, _ := bytes.Cut(id, []byte("-"))
	m, err1 := strconv.ParseUint(string(ms), 10, 64)
	s, err2 := strconv.ParseUint(string(seq), 10, 64)
	if err := errors.Join(err1, err2); err != nil {
		return readPosition{}, fmt.Errorf("redislayer: the id of an entry: %w", err)
	}
	return readPosition{m, s}, nil
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
	state    progress
	made     readPosition // ids above it are of the inbox as it was last made
	complete time.Time    // what was accepted before then has been handed over
	vouched  time.Time    // complete, when the session last found the inbox
	begun    chan struct{}

	cancel context.CancelFunc // ends the goroutine
	done   chan struct{}      // closed when it has ended

	// Only the reader's goroutine uses these.
	opener   *opener
	epochs   map[string]epoch
	names    map[named]named
	last     named // of them
	entries  []inboxEntry
	request  []byte
	pace     pace.Pace
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
	if l.cluster != nil {
		source = l.cluster.home() // not the session's: each finds out for itself where the inbox has gone
	}
	return &reader{
		l: l, source: source, begun: make(chan struct{}), done: make(chan struct{}),
		opener: newOpener(l.keys.prefix, l.options.EncryptionKeys), epochs: map[string]epoch{}, names: map[named]named{},
		count: readCount, patience: probeGrace,
	}
}

func (r *reader) progress() progress {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.state
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
	r.state.messages, r.state.bytes = 0, 0
	if r.state.before(p) {
		r.state.readPosition = p
	}
	if r.state.fetched.before(p) {
		r.state.fetched = p
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
	var backoff link.Backoff
	var outage link.Outage
	for ctx.Err() == nil {
		c, err := r.source.connect(ctx, probeInterval+probeGrace, probeInterval+r.patience)
		if err == nil {
			backoff.Reset()
			outage.Over(r.l.log, "reader has redis again")
			err = r.readAll(ctx, c)
			c.Close()
		} else if ctx.Err() == nil {
			r.source.reload(ctx, err)
		}
		if ctx.Err() != nil {
			return
		}
		outage.Tell(r.l.log, "reader lost redis", err)
		r.l.session.enqueue(&op{what: opPing}) // it may have lost redis too, and would find out with the next heartbeat
		backoff.Wait(ctx, nil)
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
	inbox := r.l.keys.inbox(r.l.name)
	for {
		request := resp.AppendRequest(nil, "XRANGE", inbox, "("+r.progress().String(), "+", "COUNT", r.count)
		if err := r.read(c, request, r.l.options.Timeout, entriesOf); err != nil || len(r.entries) == 0 {
			return err
		}
		for _, e := range r.entries {
			r.entry(e)
		}
	}
}

// readAll reads until the connection fails or ctx ends.
func (r *reader) readAll(ctx context.Context, c *conn) error {
	gather := time.NewTimer(pace.Wait)
	defer gather.Stop()
	<-gather.C
	inbox := r.l.keys.inbox(r.l.name)
	for {
		asked := time.Now()
		r.request = resp.AppendRequest(r.request[:0], "XREAD", "COUNT", r.count, "BLOCK", probeInterval.Milliseconds(),
			"STREAMS", inbox, r.progress().String())
		if err := r.read(c, r.request, probeInterval+r.patience, entriesOfStream); err != nil {
			r.shrink(err)
			if link.StaleServer(err) {
				r.source.reload(ctx, err)
			}
			return err
		}
		if len(r.entries) == 0 && c.Pipe.Asking() {
			if err := r.look(c, inbox); err != nil {
				r.source.reload(ctx, err)
				return err
			}
		}
		if len(r.entries) > 0 {
			last := r.entries[len(r.entries)-1].at
			r.mu.Lock()
			if r.state.fetched.before(last) {
				r.state.fetched = last
			}
			r.mu.Unlock()
		}
		messages := 0
		for _, e := range r.entries {
			r.entry(e)
			messages += e.messages
		}
		if len(r.entries) < r.count {
			r.mu.Lock()
			r.complete = asked
			r.mu.Unlock()
		}
		r.count, r.patience = min(2*r.count, readCount), probeGrace
		r.trim(len(r.entries) == 0)
		if ctx.Err() != nil {
			return nil
		}
		if r.pace.Next(time.Now(), messages) {
			gather.Reset(pace.Wait)
			<-gather.C
		}
	}
}

// look finds out whether the inbox is at a node that was asked with ASKING.
// Such a node also answers for what it does not have, as if it were empty.
func (r *reader) look(c *conn, inbox string) error {
	if err := c.Pipe.Write(resp.AppendRequest(nil, "EXISTS", inbox), r.l.options.Timeout); err != nil {
		return err
	}
	found, broken, refused := c.Pipe.Reply()
	if err := errors.Join(broken, refused); err != nil {
		return err
	}
	if found != int64(1) {
		return errNotHere
	}
	return nil
}

var errNotHere = errors.New("redislayer: the inbox is not where its slot's master said")

// shrink makes the next reply smaller, and waits for it longer, after one that
// did not come in time: on a slow network it may have been too large for that.
func (r *reader) shrink(err error) {
	if resp.IsTimeout(err) {
		r.count = max(1, r.count/4)
		r.patience = min(2*r.patience, maxPatience)
	}
}

// read makes a request and puts the entries of its reply into r.entries.
func (r *reader) read(c *conn, request []byte, timeout time.Duration, entries func(*resp.Values, []inboxEntry) ([]inboxEntry, error)) error {
	r.entries = r.entries[:0]
	if err := c.Pipe.Write(request, timeout); err != nil {
		return err
	}
	reply, err := c.Pipe.Fetch()
	if err != nil {
		return err
	}
	if reply[0] == '-' {
		return resp.Over(reply).Value().(resp.Error)
	}
	r.entries, err = entries(resp.Over(reply), r.entries)
	return err
}

// entriesOfStream appends the entries in a reply of XREAD on one stream.
func entriesOfStream(v *resp.Values, entries []inboxEntry) ([]inboxEntry, error) {
	switch streams := v.List(); {
	case streams <= 0:
		return entries, nil
	case streams != 1 || v.List() != 2 || v.Bytes() == nil:
		return nil, errNoEntries
	}
	return entriesOf(v, entries)
}

var errNoEntries = errors.New("redislayer: a read of the inbox gave what are no entries")

// entriesOf appends the entries in a reply of XRANGE.
func entriesOf(v *resp.Values, entries []inboxEntry) ([]inboxEntry, error) {
	n := v.List()
	if n < 0 {
		return nil, errNoEntries
	}
	for range n {
		if v.List() != 2 {
			return nil, errNoEntries
		}
		at, err := parsePosition(v.Bytes())
		if err != nil {
			return nil, err
		}
		e := inboxEntry{at: at, messages: 1}
		fields := v.List()
		if fields < 0 || fields%2 != 0 {
			return nil, errNoEntries
		}
		for range fields / 2 {
			switch field, value := v.Bytes(), v.Bytes(); string(field) {
			case "e":
				e.bytes = value
			case "c":
				e.bytes, e.control = value, true
			case "s":
				e.score = string(value)
			case "n":
				n, _ := resp.Decimal(value)
				e.messages = min(max(n, 1), maxEntryMessages)
			}
		}
		entries = append(entries, e)
	}
	return entries, nil
}

// entry hands over one entry and moves the position behind it.
func (r *reader) entry(e inboxEntry) {
	if len(e.bytes) > 0 {
		r.handOver(e)
	}
	r.mu.Lock()
	if r.state.before(e.at) {
		r.state.readPosition = e.at
	}
	counted := !e.control && e.score == "" && len(e.bytes) > 0
	if counted && r.made.before(e.at) {
		r.state.messages += uint64(e.messages)
		r.state.bytes += uint64(len(e.bytes))
	}
	r.mu.Unlock()
	r.untrim += e.messages
	r.untrimB += len(e.bytes)
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
