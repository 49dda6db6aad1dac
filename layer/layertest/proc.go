package layertest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/channellayer/channellayer/layer"
)

// proc is one process: a layer under test, and what it told its observer. Each
// call into the layer is guarded. A method whose name begins with must ends
// the check on an error.
type proc struct {
	c     *checker
	layer layer.Layer
	seen  *events
}

func (p *proc) newChannel(ctx context.Context, prefix string) (name string, err error) {
	p.c.guard(callLimit, fmt.Sprintf("NewChannel(%.120q)", prefix), func() { name, err = p.layer.NewChannel(ctx, prefix) })
	return name, err
}

func (p *proc) mustNewChannel() string {
	name, err := p.newChannel(p.c.ctx, "")
	if err != nil {
		p.c.fatalf("NewChannel returned error %v, want a channel", err)
	}
	return name
}

// mustNewChannels makes n channels.
func (p *proc) mustNewChannels(n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = p.mustNewChannel()
	}
	return names
}

func (p *proc) send(channel string, msg layer.Message) error { return p.sendCtx(p.c.ctx, channel, msg) }

func (p *proc) sendCtx(ctx context.Context, channel string, msg layer.Message) (err error) {
	p.c.guard(callLimit, fmt.Sprintf("Send to %.120q", channel), func() { err = p.layer.Send(ctx, channel, msg) })
	p.c.checkOutcome("Send", err)
	return err
}

func (p *proc) mustSend(channel string, msgs ...layer.Message) {
	for _, msg := range msgs {
		if err := p.send(channel, msg); err != nil {
			p.c.fatalf("Send(%q, %.200v) returned error %v, want it accepted", channel, msg, err)
		}
	}
}

func (p *proc) groupSend(group string, msg layer.Message) error {
	return p.groupSendCtx(p.c.ctx, group, msg)
}

func (p *proc) groupSendCtx(ctx context.Context, group string, msg layer.Message) (err error) {
	p.c.guard(callLimit, fmt.Sprintf("GroupSend to %.120q", group), func() { err = p.layer.GroupSend(ctx, group, msg) })
	p.c.checkOutcome("GroupSend", err)
	return err
}

func (p *proc) mustGroupSend(group string, msgs ...layer.Message) {
	for _, msg := range msgs {
		if err := p.groupSend(group, msg); err != nil {
			p.c.fatalf("GroupSend(%q, %.200v) returned error %v, want it accepted", group, msg, err)
		}
	}
}

func (p *proc) groupAdd(ctx context.Context, group, channel string) (err error) {
	p.c.guard(callLimit, fmt.Sprintf("GroupAdd(%.120q, %.120q)", group, channel), func() { err = p.layer.GroupAdd(ctx, group, channel) })
	return err
}

func (p *proc) mustGroupAdd(group string, channels ...string) {
	for _, channel := range channels {
		if err := p.groupAdd(p.c.ctx, group, channel); err != nil {
			p.c.fatalf("GroupAdd(%q, %q) returned error %v", group, channel, err)
		}
	}
}

func (p *proc) groupDiscard(ctx context.Context, group, channel string) (err error) {
	p.c.guard(callLimit, fmt.Sprintf("GroupDiscard(%.120q, %.120q)", group, channel), func() { err = p.layer.GroupDiscard(ctx, group, channel) })
	return err
}

func (p *proc) mustGroupDiscard(group string, channels ...string) {
	for _, channel := range channels {
		if err := p.groupDiscard(p.c.ctx, group, channel); err != nil {
			p.c.fatalf("GroupDiscard(%q, %q) returned error %v", group, channel, err)
		}
	}
}

// receiveCtx receives until ctx ends.
func (p *proc) receiveCtx(ctx context.Context, channel string) (msg layer.Message, err error) {
	p.c.guard(receiveLimit(ctx), fmt.Sprintf("Receive on %.120q", channel), func() { msg, err = p.layer.Receive(ctx, channel) })
	if err != nil && msg.Len() > 0 {
		p.c.brokenf(9, "Receive(%q) returned both a message, %.200v, and error %v: a failed Receive takes nothing", channel, msg, err)
	}
	return msg, err
}

// receiveLimit is how long a Receive with ctx may take.
func receiveLimit(ctx context.Context) time.Duration {
	if deadline, ok := ctx.Deadline(); ok {
		return max(0, time.Until(deadline)) + callLimit
	}
	return callLimit
}

// receive waits for a message for at most the given time.
func (p *proc) receive(channel string, within time.Duration) (layer.Message, error) {
	ctx, cancel := context.WithTimeout(p.c.ctx, within)
	defer cancel()
	return p.receiveCtx(ctx, channel)
}

// mustReceive returns the next message.
func (p *proc) mustReceive(channel string) layer.Message {
	msg, err := p.receive(channel, arriveLimit)
	if err != nil {
		p.c.fatalf("Receive(%q) returned error %v after at most %v, want a message", channel, err, arriveLimit)
	}
	return msg
}

// expect receives the messages, in order.
func (p *proc) expect(channel string, want ...layer.Message) {
	for i, w := range want {
		got, err := p.receive(channel, arriveLimit)
		if err != nil {
			p.c.fatalf("Receive(%q) returned error %v after at most %v, want message %d of %d: %.200v", channel, err, arriveLimit, i+1, len(want), w)
		}
		if !got.Equal(w) {
			p.c.fatalf("Receive(%q) returned %.200v, want message %d of %d: %.200v", channel, got, i+1, len(want), w)
		}
	}
}

// expectOnly receives the messages, and shows that the channel holds no more:
// a message sent now is the next.
func (p *proc) expectOnly(writer *proc, channel string, want ...layer.Message) {
	p.expect(channel, want...)
	p.expectEmpty(writer, channel)
}

// expectEmpty shows that nothing from the writer is on the channel, without
// waiting: a message that it sends now is the next.
func (p *proc) expectEmpty(writer *proc, channel string) {
	fence := text("fence")
	writer.mustSend(channel, fence)
	got, err := p.receive(channel, arriveLimit)
	if err != nil {
		p.c.fatalf("Receive(%q) returned error %v after at most %v, want the message that was just sent", channel, err, arriveLimit)
	}
	if !got.Equal(fence) {
		p.c.fatalf("Receive(%q) returned %.200v, want nothing before the message that was just sent, %v", channel, got, fence)
	}
}

// expectNothing waits a little, and shows that no message comes.
func (p *proc) expectNothing(channel string) {
	msg, err := p.receive(channel, p.c.unit)
	if err == nil {
		p.c.fatalf("Receive(%q) returned %.200v, want no message", channel, msg)
	}
	if !errors.Is(err, context.DeadlineExceeded) {
		p.c.fatalf("Receive(%q) on an empty channel returned error %v, want context.DeadlineExceeded", channel, err)
	}
}

// drain receives what is on the channel until nothing comes for a while.
func (p *proc) drain(channel string) (msgs []layer.Message) {
	for {
		msg, err := p.receive(channel, p.c.unit)
		if errors.Is(err, context.DeadlineExceeded) {
			return msgs
		}
		if err != nil {
			p.c.fatalf("Receive(%q) returned error %v", channel, err)
		}
		msgs = append(msgs, msg)
	}
}

func (p *proc) batch(ctx context.Context, channel string, buf []layer.Message) (n int, err error) {
	p.c.guard(receiveLimit(ctx), fmt.Sprintf("ReceiveBatch on %.120q", channel), func() { n, err = layer.ReceiveBatch(ctx, p.layer, channel, buf) })
	return n, err
}

func (p *proc) release(ctx context.Context, channel string) (err error) {
	p.c.guard(callLimit, fmt.Sprintf("Release(%.120q)", channel), func() { err = layer.Release(ctx, p.layer, channel) })
	if errors.Is(err, errors.ErrUnsupported) {
		p.c.skipf("the layer has no Release")
	}
	return err
}

func (p *proc) mustRelease(channel string) {
	if err := p.release(p.c.ctx, channel); err != nil {
		p.c.fatalf("Release(%q) returned error %v", channel, err)
	}
}

func (p *proc) mustFlush() {
	var err error
	p.c.guard(callLimit, "Flush", func() { err = layer.Flush(p.c.ctx, p.layer) })
	if errors.Is(err, errors.ErrUnsupported) {
		p.c.skipf("the layer has no Flush")
	}
	if err != nil {
		p.c.fatalf("Flush returned error %v", err)
	}
}

// mustStats returns the layer's counters.
func (p *proc) mustStats() (stats layer.Stats) {
	ok := false
	p.c.guard(callLimit, "Stats", func() { stats, ok = layer.ReadStats(p.layer) })
	if !ok {
		p.c.skipf("the layer has no Stats")
	}
	return stats
}

func (p *proc) close() (err error) {
	p.c.guard(callLimit, "Close", func() { err = p.layer.Close() })
	return err
}

// finish closes the layer at the end of a check, and looks for what no layer
// may do in any check.
func (p *proc) finish() {
	<-p.c.inside(func() {
		if err := p.close(); err != nil {
			p.c.brokenf(11, "Close returned error %v", err)
		}
	})
	for _, gap := range p.seen.gapsSeen() {
		p.c.brokenf(12, "%s was reported, though nothing went wrong", gap)
	}
	for _, call := range p.seen.badCalls() {
		p.c.brokenf(12, "the observer was called with %s", call)
	}
}

// checkOutcome checks what every error of a send must keep.
func (c *checker) checkOutcome(op string, err error) {
	if problem := outcomeProblem(err); problem != "" {
		c.brokenf(10, "%s returned error %q, which %s", op, err, problem)
	}
}

// outcomeProblem says what is wrong with the outcome that an error of a send
// tells, or "".
func outcomeProblem(err error) string {
	notSent, maybeSent := errors.Is(err, layer.ErrNotSent), errors.Is(err, layer.ErrMaybeSent)
	switch {
	case err == nil || notSent != maybeSent:
		return ""
	case notSent:
		return "matches both ErrNotSent and ErrMaybeSent, want one of them"
	}
	return "matches neither ErrNotSent nor ErrMaybeSent, want one of them"
}

// pending is a Receive under way.
type pending struct {
	c    *checker
	what string
	done chan struct{}
	msg  layer.Message
	err  error
}

// startReceive receives in a goroutine of its own.
func (p *proc) startReceive(ctx context.Context, channel string) *pending {
	r := &pending{c: p.c, what: fmt.Sprintf("Receive on %q", channel)}
	r.done = p.c.goroutine(r.what, func() { r.msg, r.err = p.layer.Receive(ctx, channel) })
	return r
}

// result waits for the end of the Receive.
func (r *pending) result() (layer.Message, error) {
	r.c.wait(r.done, callLimit)
	return r.msg, r.err
}

// returned reports whether the Receive has ended.
func (r *pending) returned() bool {
	select {
	case <-r.done:
		return true
	default:
		return false
	}
}

// text makes a message that tests can tell from others.
func text(s string) layer.Message { return layer.NewMessage(map[string]any{"text": s}) }

// numbered makes the nth message of a writer.
func numbered(writer string, n int) layer.Message {
	return layer.NewMessage(map[string]any{"from": writer, "n": n})
}

// series makes the messages first to last of a writer.
func series(writer string, first, last int) (msgs []layer.Message) {
	for n := first; n <= last; n++ {
		msgs = append(msgs, numbered(writer, n))
	}
	return msgs
}

// wantError says which of the targets the error does not match, or "".
func wantError(err error, targets ...error) string {
	if i := slices.IndexFunc(targets, func(t error) bool { return !errors.Is(err, t) }); i >= 0 {
		return fmt.Sprintf("error %v does not match %q", err, targets[i])
	}
	return ""
}
