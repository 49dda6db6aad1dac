package redislayer

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/channellayer/channellayer/layer"
)

// requests are what one process asks another to do, by control entries in each
// other's inboxes. All of it may be done twice.
type requests struct {
	l *Layer

	mu      sync.Mutex
	last    uint64
	waiting map[uint64]chan byte
	serving sync.WaitGroup
	active  int // being served
	closed  bool
}

// maxServing is how many requests are served at once, a goroutine each: control
// entries are exempt from the inbox's bounds.
const maxServing = 10_000

// request is what is asked for.
type request struct {
	what           byte
	group, channel string
}

func (q request) body(id uint64) []byte {
	b := append(binary.AppendUvarint(nil, id), q.what)
	return appendString(appendString(b, q.group), q.channel)
}

const (
	askAdd     byte = 1
	askDiscard byte = 2
	askFlush   byte = 3
	askNothing byte = 4 // is not answered: that it can be put into the inbox is all
)

// Answers.
const (
	answerDone   byte = 0
	answerGone   byte = 1
	answerFailed byte = 2
)

func newRequests(l *Layer) *requests {
	return &requests{l: l, waiting: map[uint64]chan byte{}}
}

// ask asks a process, and waits for its answer up to the layer's timeout.
func (r *requests) ask(ctx context.Context, process string, q request) error {
	ctx, cancel := context.WithTimeoutCause(ctx, r.l.options.Timeout, errNoAnswer)
	defer cancel()
	answered := make(chan byte, 1)
	r.mu.Lock()
	r.last++
	id := r.last
	r.waiting[id] = answered
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		delete(r.waiting, id)
		r.mu.Unlock()
	}()

	err := r.send(ctx, process, q.body(id))
	for err == nil || ctx.Err() == nil && !errors.Is(err, layer.ErrNotSent) {
		again := time.NewTimer(r.l.options.Timeout / 6)
		select {
		case a := <-answered:
			again.Stop()
			return answerError(a)
		case <-again.C:
		case <-ctx.Done():
			again.Stop()
			return noAnswer(ctx, ctx.Err())
		}
		// A process that closed without an answer has no inbox any more.
		err = r.send(ctx, process, request{what: askNothing}.body(0))
	}
	return noAnswer(ctx, err)
}

// send sends a request.
func (r *requests) send(ctx context.Context, process string, body []byte) error {
	if r.l.cluster != nil {
		return r.l.cluster.do(ctx, &task{kind: taskControl, frame: kindRequest, where: process, name: r.l.name, body: body})
	}
	return r.l.session.do(ctx, &op{what: opControl, where: process, name: r.l.name, body: body})
}

// reply sends an answer, and does not wait.
func (r *requests) reply(process string, answer []byte) {
	if r.l.cluster != nil {
		r.l.cluster.enqueue(&task{kind: taskControl, frame: kindReply, where: process, body: answer})
		return
	}
	r.l.session.enqueue(&op{what: opControl, where: process, body: answer})
}

// answerError is what an answer means.
func answerError(answer byte) error {
	switch answer {
	case answerDone:
		return nil
	case answerGone:
		return layer.ErrChannelGone
	}
	return unavailable(errors.New("the channel's process could not do it"))
}

// noAnswer tells the layer's timeout from the end of the caller's ctx.
func noAnswer(ctx context.Context, err error) error {
	if context.Cause(ctx) == errNoAnswer {
		return unavailable(errNoAnswer)
	}
	return err
}

var errNoAnswer = errors.New("no answer from the channel's process within the timeout")

// serve does what another process asked for. It does not block.
func (r *requests) serve(replyTo string, body []byte) {
	f := entryReader{rest: body}
	id, err := f.uvarint()
	if err == nil && !f.more() {
		err = errTruncated
	}
	if err != nil {
		r.l.undecodable(err, 1)
		return
	}
	q := request{what: f.rest[0]}
	if q.what == askNothing {
		return
	}
	f.rest = f.rest[1:]
	group, err1 := f.bytes()
	channel, err2 := f.bytes()
	if err := errors.Join(err1, err2); err != nil {
		r.l.undecodable(err, 1)
		return
	}
	q.group, q.channel = string(group), string(channel)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed || r.active == maxServing {
		return // who asked gets no answer, and tries again
	}
	r.active++
	r.serving.Go(func() {
		defer func() {
			r.mu.Lock()
			r.active--
			r.mu.Unlock()
		}()
		answer := binary.AppendUvarint(nil, id)
		answer = append(answer, r.do(q))
		r.reply(replyTo, answer)
	})
}

func (r *requests) do(q request) byte {
	ctx, cancel := context.WithTimeout(context.Background(), r.l.options.Timeout)
	defer cancel()
	var err error
	switch {
	case q.what == askFlush:
		r.l.flushOwn()
	case !r.l.process.Owns(q.channel):
		return answerGone
	case q.what == askAdd:
		err = r.l.GroupAdd(ctx, q.group, q.channel)
	case q.what == askDiscard:
		err = r.l.GroupDiscard(ctx, q.group, q.channel)
	default:
		err = fmt.Errorf("request %d is not known here", q.what)
	}
	switch {
	case err == nil:
		return answerDone
	case errors.Is(err, layer.ErrChannelGone), errors.Is(err, layer.ErrClosed): // gone with the process
		return answerGone
	}
	return answerFailed
}

// answered is told an answer to a request of ours.
func (r *requests) answered(body []byte) {
	f := entryReader{rest: body}
	id, err := f.uvarint()
	if err != nil || len(f.rest) != 1 {
		r.l.undecodable(errTruncated, 1)
		return
	}
	r.mu.Lock()
	answer := r.waiting[id]
	delete(r.waiting, id)
	r.mu.Unlock()
	if answer != nil {
		answer <- f.rest[0]
	}
}

// wait waits for what is being served, when nothing more comes.
func (r *requests) wait() {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.serving.Wait()
}
