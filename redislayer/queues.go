package redislayer

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"

	"github.com/channellayer/channellayer/layer"
)

// queues keeps, for each normal channel that this process receives on, how
// many receivers wait here and how many of them Redis knows of. It asks Redis
// for just as many messages as there are receivers waiting.
type queues struct {
	l  *Layer
	mu sync.Mutex
	m  map[string]*demand

	back []*op // entries to be given back when Redis is there again

	// When this process last put a message into a queue: it sees to it that
	// one which expires there is counted.
	filledAt map[string]int64
}

// demand is one normal channel's.
type demand struct {
	waiting int  // calls of Receive under way
	known   int  // of them, those that Redis knows of
	asking  bool // an operation is under way; another follows it if needed
	reset   bool // Redis may have forgotten: tell it the whole number
}

func newQueues(l *Layer) *queues {
	return &queues{l: l, m: map[string]*demand{}, filledAt: map[string]int64{}}
}

// receive receives on a normal channel.
func (q *queues) receive(ctx context.Context, channel string, buf []layer.Message) (int, error) {
	q.change(channel, func(d *demand) { d.waiting++ })
	n, err := q.l.mailboxes.ReceiveBatch(ctx, channel, buf)
	q.change(channel, func(d *demand) { d.waiting-- })
	return n, err
}

// arrived is called when a message came for one of the receivers that Redis
// knew of.
func (q *queues) arrived(channel string) {
	q.change(channel, func(d *demand) { d.known = max(0, d.known-1) })
}

func (q *queues) change(channel string, f func(*demand)) {
	q.mu.Lock()
	d := q.m[channel]
	if d == nil {
		d = &demand{}
		q.m[channel] = d
	}
	f(d)
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
		o.what, o.count = opReset, d.waiting
		d.reset, d.known = false, d.waiting
	case missing > 0:
		o.what, o.count = opWait, missing
		d.known += missing
	case missing < 0:
		o.what, o.count = opLeave, -missing
	default:
		if d.waiting == 0 {
			delete(q.m, channel)
		}
		return nil
	}
	d.asking = true
	return o
}

func (q *queues) send(channel string, d *demand, o *op) {
	if o == nil {
		return
	}
	o.then = func(err error, result int64) {
		q.mu.Lock()
		d.asking = false
		switch {
		case err != nil:
			d.reset = true
		case o.what == opLeave:
			// Fewer may have left than were to: messages for the others are on
			// their way, and arrived will count them.
			d.known -= int(result)
		}
		var next *op
		if err == nil {
			next = q.nextLocked(channel, d)
			if next != nil && next.what == opLeave && o.what == opLeave && result == 0 {
				next, d.asking = nil, false // nothing to leave: wait for what is on its way
			}
		}
		q.mu.Unlock()
		q.send(channel, d, next)
	}
	if err := q.l.session.enqueue(o); err != nil {
		q.mu.Lock()
		d.asking, d.reset = false, true // told when Redis is back
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
		case errors.Is(err, layer.ErrNotSent) && !errors.Is(err, layer.ErrClosed):
			q.mu.Lock()
			q.back = append(q.back, o)
			q.mu.Unlock()
		case errors.Is(err, layer.ErrClosed):
			q.l.drop(layer.DropClosed, channel, 1)
		default: // perhaps it is back; it must not be put back twice
			q.l.drop(layer.DropLate, channel, 1)
		}
	}
	if err := q.l.session.enqueue(o); err != nil {
		o.then(layer.NotSent(err), 0)
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
	back := q.back
	q.back = nil
	q.mu.Unlock()
	for _, o := range back {
		q.giveBack(o.where, o.score, o.body)
	}
	for _, channel := range channels {
		q.change(channel, func(*demand) {})
	}
}
