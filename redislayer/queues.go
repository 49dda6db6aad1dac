package redislayer

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/redislayer/internal/backlog"
)

// queues keeps, for each normal channel that this process receives on, how
// many receivers wait here and how many of them Redis knows of. It asks Redis
// for just as many messages as there are receivers waiting.
type queues struct {
	l  *Layer
	mu sync.Mutex
	m  map[string]*demand

	back  []*op // entries to be given back when Redis is there again
	marks int   // made so far

	// When this process last put a message into a queue: it sees to it that
	// one which expires there is counted.
	filledAt map[string]int64

	// How far receivers here have come in each queue, and what stands there again,
	// unless somebody else has taken it.
	taken      *backlog.Bounds
	oldestBack map[string]goneBack
}

type goneBack struct {
	score float64
	sent  time.Time
}

// demand is one normal channel's.
type demand struct {
	waiting int  // calls of Receive under way that have not been handed a message
	known   int  // of them, those that Redis knows of, or has handed a message
	asking  bool // an operation is under way; another follows it if needed
	reset   bool // Redis may know something else: begin anew
	gone    bool // as many have left as could; messages for the others will come
	mark    int  // of the reset that is under way; 0 if none is
}

func newQueues(l *Layer) *queues {
	return &queues{l: l, m: map[string]*demand{}, filledAt: map[string]int64{}, taken: backlog.New(l.options.Limits.Expiry), oldestBack: map[string]goneBack{}}
}

// receive receives on a normal channel.
func (q *queues) receive(ctx context.Context, channel string, buf []layer.Message) (int, error) {
	q.change(channel, func(d *demand) { d.waiting++ })
	n, err := q.l.process.Mailboxes().ReceiveBatch(ctx, channel, buf)
	if n == 0 { // otherwise delivered has counted it, or does so presently
		q.change(channel, func(d *demand) { d.waiting-- })
	}
	return n, err
}

// delivered is called when a receiver was handed a message.
func (q *queues) delivered(channel string) {
	q.change(channel, func(d *demand) { d.known, d.waiting = max(0, d.known-1), max(0, d.waiting-1) })
}

// came is called when a message came, with the score that it has in its queue:
// what still stands there is younger, unless an older one was given back.
func (q *queues) came(channel string, score float64, sent time.Time) {
	q.mu.Lock()
	back, is := q.oldestBack[channel]
	is = is && back.score < score && time.Since(back.sent) < q.l.options.Limits.Expiry
	if !is {
		delete(q.oldestBack, channel)
	}
	q.mu.Unlock()
	if !is {
		q.taken.Begin([]string{channel}, sent)
		q.taken.Reached(sent, channel)
	}
}

// goesBack is called when the message that came last is to be given back.
func (q *queues) goesBack(channel string, score float64, sent time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if back, is := q.oldestBack[channel]; !is || score < back.score {
		q.oldestBack[channel] = goneBack{score, sent}
	}
}

// arrived is called when a message came for one of the receivers that Redis
// knew of, and nobody was handed it.
func (q *queues) arrived(channel string) {
	q.change(channel, func(d *demand) { d.known = max(0, d.known-1) })
}

// marked is called when the mark of a reset came: everything that Redis had
// handed over to receivers here before has come too, so it knows of none now.
func (q *queues) marked(channel string, mark int) {
	q.change(channel, func(d *demand) {
		if d.mark == mark {
			d.mark, d.known = 0, 0
		}
	})
}

func (q *queues) change(channel string, f func(*demand)) {
	q.mu.Lock()
	d := q.m[channel]
	if d == nil {
		d = &demand{}
		q.m[channel] = d
	}
	f(d)
	d.gone = false
	o := q.nextLocked(channel, d)
	q.mu.Unlock()
	q.send(channel, d, o)
}

// nextLocked returns the operation that brings Redis's knowledge in line, or
// nil.
func (q *queues) nextLocked(channel string, d *demand) *op {
	if d.asking {
		return nil
	}
	o := &op{where: channel}
	switch missing := d.waiting - d.known; {
	case d.reset:
		q.marks++
		o.what, o.count = opReset, q.marks
		d.reset, d.mark = false, q.marks
	case d.mark != 0: // wait for that
		return nil
	case missing > 0:
		o.what, o.count = opWait, missing
		d.known += missing
	case missing < 0 && !d.gone:
		o.what, o.count = opLeave, -missing
	default:
		if d.waiting == 0 && d.known == 0 {
			delete(q.m, channel)
		}
		return nil
	}
	d.asking, d.gone = true, false
	o.then = func(err error, result int64) { q.told(channel, d, o, err, result) }
	return o
}

// told is told the result of an operation.
func (q *queues) told(channel string, d *demand, o *op, err error, result int64) {
	q.mu.Lock()
	d.asking = false
	switch {
	case err != nil:
		d.reset = true // when Redis is back, or with the next heartbeat
		q.mu.Unlock()
		return
	case o.what == opReset && result == 0: // the inbox is gone, and will be made anew
		d.reset, d.mark = true, 0
		q.mu.Unlock()
		return
	case o.what == opLeave:
		// Fewer may have left than were to: messages for the others are on
		// their way, and will be counted when they come.
		d.known -= int(result)
		d.gone = result < int64(o.count)
	}
	next := q.nextLocked(channel, d)
	q.mu.Unlock()
	q.send(channel, d, next)
}

func (q *queues) send(channel string, d *demand, o *op) {
	for o != nil && q.l.session.enqueue(o) != nil {
		q.mu.Lock()
		d.asking, d.reset = false, true // told when Redis is back
		o = nil
		if q.l.session.cause() == nil && q.l.process.Check(context.Background()) == nil {
			o = q.nextLocked(channel, d) // it is, since just now
		}
		q.mu.Unlock()
	}
}

// giveBack puts an entry back to where it came from: its receiver went away
// while it was on its way, and no other waits here.
func (q *queues) giveBack(channel, score string, entry []byte) {
	o := &op{what: opBack, where: channel, score: score, body: entry}
	o.then = func(err error, _ int64) {
		switch {
		case err == nil:
		case o.maybe: // perhaps it is back; it must not be put back twice
			q.l.process.Drop(layer.DropLate, channel, 1)
		default: // when Redis is there again, or as the last thing before the end
			q.mu.Lock()
			q.back = append(q.back, o)
			q.mu.Unlock()
		}
	}
	if err := q.l.session.enqueue(o); err != nil {
		o.then(err, 0)
	}
}

// takeBack takes the operations that give back what could not be given back
// before.
func (q *queues) takeBack() []*op {
	q.mu.Lock()
	defer q.mu.Unlock()
	back := q.back
	q.back = nil
	return back
}

// close counts what could not be given back.
func (q *queues) close() {
	for _, o := range q.takeBack() {
		q.l.process.Drop(layer.DropClosed, o.where, 1)
	}
}

// channels returns the normal channels that Redis may know waiting receivers
// of.
func (q *queues) channels() []string {
	q.mu.Lock()
	defer q.mu.Unlock()
	return slices.Collect(maps.Keys(q.m))
}

// filled is told that this process put a message into a queue.
func (q *queues) filled(channel string) {
	q.mu.Lock()
	q.filledAt[channel] = q.l.now()
	q.mu.Unlock()
}

// retry tells Redis those numbers that it refused, as when its memory was full.
func (q *queues) retry() {
	q.mu.Lock()
	var due []string
	for channel, d := range q.m {
		if d.reset && !d.asking {
			due = append(due, channel)
		}
	}
	q.mu.Unlock()
	for _, channel := range due {
		q.change(channel, func(*demand) {})
	}
}

// prune drops what has expired in the queues that this process filled and
// nobody may have looked at since.
func (q *queues) prune() {
	before := q.l.now() - int64(q.l.options.Limits.Expiry)
	q.mu.Lock()
	var due []string
	for channel, at := range q.filledAt {
		if at < before {
			due = append(due, channel)
			delete(q.filledAt, channel)
		}
	}
	maps.DeleteFunc(q.oldestBack, func(_ string, b goneBack) bool { return time.Since(b.sent) >= q.l.options.Limits.Expiry })
	q.mu.Unlock()
	for _, channel := range due {
		o := &op{what: opPrune, where: channel}
		o.then = func(err error, _ int64) {
			if err != nil {
				q.filled(channel) // later, then
			}
		}
		if err := q.l.session.enqueue(o); err != nil {
			o.then(err, 0)
		}
	}
}

// tellAll tells Redis all numbers again, and gives back what could not be
// given back before. It heals whatever was lost since it last ran.
func (q *queues) tellAll() {
	q.mu.Lock()
	var channels []string
	for channel, d := range q.m {
		d.reset = true
		channels = append(channels, channel)
	}
	q.mu.Unlock()
	for _, o := range q.takeBack() {
		q.giveBack(o.where, o.score, o.body)
	}
	for _, channel := range channels {
		q.change(channel, func(*demand) {})
	}
}
