package redislayer

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/redislayer/internal/lua"
)

// lines keeps, for each normal channel that this process receives on, how many
// receivers wait here, and fetches messages for them. It is what queues is
// where the inbox is at another node than the queue: Redis sets a message aside
// for the process that waits longest, whoever caused that wakes the process by
// a control entry, and the process fetches it. A fetch whose outcome is not
// known is repeated as it was, and Redis answers as it did, so that nothing is
// lost with a reply, and nothing comes twice.
type lines struct {
	c *cluster

	opening sync.Mutex
	opener  *opener

	mu       sync.Mutex
	m        map[string]*line
	requests uint64
	closing  bool
	unwoken  map[wake]bool    // processes that could not be woken
	doubted  map[string]bool  // channels for which somebody may have to be woken
	filledAt map[string]int64 // when this process last put a message into a queue
}

// line is one normal channel's.
type line struct {
	waiting  int    // calls of Receive under way that have not been handed a message
	told     int    // of them, those that Redis knows of
	asked    *fetch // is not answered yet
	asking   bool   // it is under way; otherwise it is to be repeated
	again    bool   // ask anew, though the numbers are right
	kept     bool   // Redis keeps what it gave last until it is asked anew
	heard    uint64 // the last that was answered
	back     []int64
	answered chan struct{} // closed when what is under way has ended
}

// fetch is a request for messages.
type fetch struct {
	id     uint64
	wanted int
	heard  uint64  // the last that was answered
	back   []int64 // of what came then, what nobody took here
}

type wake struct{ process, channel string }

func newLines(c *cluster) *lines {
	return &lines{
		c: c, opener: newOpener(c.l.keys.prefix, c.l.options.EncryptionKeys), m: map[string]*line{},
		unwoken: map[wake]bool{}, doubted: map[string]bool{}, filledAt: map[string]int64{},
	}
}

// receive receives on a normal channel.
func (q *lines) receive(ctx context.Context, channel string, buf []layer.Message) (int, error) {
	q.change(channel, func(d *line) { d.waiting++ })
	n, err := q.c.l.process.Mailboxes().ReceiveBatch(ctx, channel, buf)
	if n == 0 { // otherwise handOver has counted it
		q.change(channel, func(d *line) { d.waiting-- })
	}
	return n, err
}

// woken is told that something was set aside for this process.
func (q *lines) woken(channel string) { q.change(channel, func(d *line) { d.again = true }) }

func (q *lines) change(channel string, f func(*line)) {
	q.mu.Lock()
	d := q.m[channel]
	if d == nil {
		d = &line{}
		q.m[channel] = d
	}
	f(d)
	t := q.nextLocked(channel, d)
	q.mu.Unlock()
	q.send(t)
}

// nextLocked returns the task that brings Redis's knowledge in line, or nil.
func (q *lines) nextLocked(channel string, d *line) *task {
	if d.asking {
		return nil
	}
	if d.asked == nil {
		wanted := d.waiting
		if q.closing {
			wanted = 0
		}
		if !d.again && wanted == d.told && len(d.back) == 0 {
			if wanted == 0 && !d.kept {
				delete(q.m, channel)
			}
			return nil
		}
		q.requests++
		d.asked = &fetch{q.requests, wanted, d.heard, d.back}
		d.again, d.back = false, nil
	}
	d.asking, d.answered = true, make(chan struct{})
	return &task{kind: taskFetch, where: channel, request: d.asked, then: func(t *task, reply any) { q.fetched(channel, d, t, reply) }}
}

func (q *lines) send(t *task) {
	if t == nil {
		return
	}
	if err := q.c.enqueue(t); err != nil {
		t.finish(err, false, nil)
	}
}

// fetched is told the answer to a fetch: {number, score, entry, ...}, and when
// that was in microseconds, as the last.
func (q *lines) fetched(channel string, d *line, t *task, reply any) {
	if t.err != nil {
		q.mu.Lock()
		d.asking = false // tick repeats it
		close(d.answered)
		q.mu.Unlock()
		return
	}
	values, _ := reply.([]any)
	var back []int64
	given := len(values) / 3
	handed := 0
	for i := range given {
		switch q.handOver(channel, values[3*i+1], values[3*i+2], values[len(values)-1]) {
		case takenByReceiver:
			handed++
		case takenByNobody:
			back = append(back, lua.Number(values, 3*i))
		}
	}
	q.mu.Lock()
	d.told, d.kept = max(0, t.request.wanted-given), given > 0
	d.waiting, d.back = max(0, d.waiting-handed), back
	d.asked, d.asking, d.heard = nil, false, t.request.id
	close(d.answered)
	next := q.nextLocked(channel, d)
	q.mu.Unlock()
	q.send(next)
}

// What becomes of a message.
const (
	takenByReceiver = iota
	takenByNobody
	dropped
)

// handOver hands a message to a receiver that waits.
func (q *lines) handOver(channel string, score, entry, now any) int {
	l := q.c.l
	text, _ := entry.(string)
	msg, ok := q.open(channel, text)
	if !ok {
		return dropped
	}
	if age := micros(now) - micros(score); age >= l.options.Limits.Expiry {
		l.process.Drop(layer.DropExpired, channel, 1)
		return dropped
	}
	if l.process.Mailboxes().HandOver(channel, msg) {
		return takenByReceiver
	}
	return takenByNobody
}

func micros(value any) time.Duration {
	text, _ := value.(string)
	n, _ := strconv.ParseFloat(text, 64)
	return time.Duration(n) * time.Microsecond
}

var errNotForChannel = errors.New("it is not for the channel in whose queue it is")

// open reads an entry of a queue. Its bytes may be anybody's: what cannot be
// read is counted.
func (q *lines) open(channel, entry string) (msg layer.Message, ok bool) {
	frames := entryReader{rest: []byte(entry)}
	h, err := frames.header()
	if err == nil {
		q.opening.Lock()
		frames.rest, err = q.opener.open(h, []byte(entry[:len(entry)-len(frames.rest)]), frames.rest, "")
		q.opening.Unlock()
	}
	var k kind
	var name string
	var body []byte
	if err == nil {
		k, name, body, err = frames.frame()
	}
	if err == nil && (k != kindQueue || name != channel) {
		err = errNotForChannel
	}
	if err != nil {
		q.c.l.undecodable(err, 1)
		return msg, false
	}
	return q.c.l.decode(name, body)
}

// answered is told the reply to operations on one normal channel.
func (q *lines) answered(call *laneCall, reply any) {
	l, channel := q.c.l, call.tasks[0].where
	values, _ := reply.([]any)
	if expired := lua.Number(values, 0); expired > 0 {
		l.process.Drop(layer.DropExpired, channel, int(expired))
	}
	if late := lua.Number(values, 1); late > 0 {
		l.process.Drop(layer.DropLate, channel, int(late))
	}
	var processes []any
	var now any
	if len(values) > 3 {
		processes, _ = values[2].([]any)
		now = values[3]
	}
	for i, t := range call.tasks {
		var result any
		if i+4 < len(values) {
			result = values[i+4]
		}
		switch t.kind {
		case taskPush:
			var err error
			if result == int64(0) {
				err = layer.ErrChannelFull
			}
			t.finish(err, false, nil)
		case taskFetch:
			given, _ := result.([]any)
			if len(given) > 0 {
				given = append(given, now)
			}
			t.finish(nil, false, given)
		default:
			t.finish(nil, false, nil)
		}
	}
	for _, p := range processes {
		if process, _ := p.(string); process == l.name {
			q.woken(channel)
		} else {
			q.wake(wake{process, channel})
		}
	}
}

// wake tells a process that something was set aside for it. If it has no inbox,
// that goes to others.
func (q *lines) wake(w wake) {
	t := &task{kind: taskControl, frame: kindWake, where: w.process, name: w.channel}
	t.then = func(t *task, _ any) {
		switch t.err {
		case nil:
		case layer.ErrChannelGone:
			q.gone(w)
		default: // it may be told twice
			q.mu.Lock()
			q.unwoken[w] = true
			q.mu.Unlock()
		}
	}
	q.send(t)
}

func (q *lines) gone(w wake) {
	q.send(&task{kind: taskGone, where: w.channel, name: w.process, then: func(t *task, _ any) {
		if t.err != nil { // then it is found out again
			q.mu.Lock()
			q.unwoken[w] = true
			q.mu.Unlock()
		}
	}})
}

// doubt is told that it is not known what became of an operation on a channel:
// somebody may have to be woken.
func (q *lines) doubt(channel string) {
	q.mu.Lock()
	q.doubted[channel] = true
	q.mu.Unlock()
}

// filled is told that this process puts a message into a queue: it sees to it
// that one which expires there is counted.
func (q *lines) filled(channel string) {
	q.mu.Lock()
	q.filledAt[channel] = q.c.l.now()
	q.mu.Unlock()
}

// tick does again what failed, has Redis forget what it keeps, and drops what
// has expired.
func (q *lines) tick() {
	before := q.c.l.now() - int64(q.c.l.options.Limits.Expiry)
	q.mu.Lock()
	wakes, prune := q.unwoken, q.doubted
	q.unwoken, q.doubted = map[wake]bool{}, map[string]bool{}
	for channel, at := range q.filledAt {
		if at < before {
			prune[channel] = true
			delete(q.filledAt, channel)
		}
	}
	var again []string
	for channel, d := range q.m {
		if d.asked != nil && !d.asking || d.asked == nil && d.kept {
			d.again = d.again || d.asked == nil
			again = append(again, channel)
		}
	}
	q.mu.Unlock()
	for w := range wakes {
		q.wake(w)
	}
	for channel := range prune {
		q.send(&task{kind: taskPrune, where: channel, then: func(t *task, _ any) {
			if t.err != nil {
				q.doubt(channel)
			}
		}})
	}
	for _, channel := range again {
		q.change(channel, func(*line) {})
	}
}

// tellAll tells Redis all numbers again. It heals whatever was lost since it
// last ran.
func (q *lines) tellAll() {
	q.mu.Lock()
	var channels []string
	for channel := range q.m {
		channels = append(channels, channel)
	}
	q.mu.Unlock()
	for _, channel := range channels {
		q.change(channel, func(d *line) { d.again = true })
	}
}

// finish gives back what is set aside for this process, as far as that can be
// done before ctx ends.
func (q *lines) finish(ctx context.Context) {
	q.mu.Lock()
	q.closing = true
	var channels []string
	for channel := range q.m {
		channels = append(channels, channel)
	}
	q.mu.Unlock()
	slices.Sort(channels)
	var all sync.WaitGroup
	for _, channel := range channels {
		all.Go(func() { q.finishOne(ctx, channel) })
	}
	all.Wait()
}

// finishOne lets what is under way end, and gives back what came.
func (q *lines) finishOne(ctx context.Context, channel string) {
	for range 3 { // under way; repeated; and what that brought goes back
		q.change(channel, func(d *line) { d.again = d.again || d.asked == nil && !d.asking })
		q.mu.Lock()
		var answered chan struct{}
		if d := q.m[channel]; d != nil {
			answered = d.answered
		}
		q.mu.Unlock()
		if answered == nil {
			break
		}
		select {
		case <-answered:
		case <-ctx.Done():
			return
		}
	}
}
