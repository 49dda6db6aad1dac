package layertest

import (
	"context"
	"errors"
	"time"

	"github.com/channellayer/channellayer/layer"
)

func rule10() []check {
	return []check{
		{Rule: 10, Name: "Rule10Failure/ended_ctx", Run: endedCtx,
			Doc: "Every method returns the error of a ctx that has ended, promptly, and has done nothing."},
		{Rule: 10, Name: "Rule10Failure/receive_ends_with_ctx", Run: receiveEndsPromptly,
			Doc: "A Receive that waits returns promptly when ctx ends."},
		{Rule: 10, Name: "Rule10Failure/outcome_of_errors", Run: outcomeOfErrors,
			Doc: "Every error of Send and GroupSend matches exactly one of ErrNotSent and ErrMaybeSent; those that say that nothing was sent match ErrNotSent."},
		{Rule: 10, Name: "Rule10Failure/long_deadline", Both: true, Run: longDeadline,
			Doc: "A ctx with a deadline, or none at all, lets every call succeed."},
	}
}

// ctxCall is a call of one method that should succeed.
type ctxCall struct {
	op   string
	send bool // its errors tell an outcome
	call func(ctx context.Context) error
}

// calls returns a call of every method, on a channel of p and the group "room".
func (p *proc) calls(ch string) []ctxCall {
	l := p.layer
	buf := make([]layer.Message, 1)
	return []ctxCall{
		{op: "NewChannel", call: func(ctx context.Context) error { _, err := l.NewChannel(ctx, ""); return err }},
		{op: "Send", send: true, call: func(ctx context.Context) error { return l.Send(ctx, ch, text("by Send")) }},
		{op: "Send to a normal channel", send: true, call: func(ctx context.Context) error { return l.Send(ctx, "jobs", text("by Send")) }},
		{op: "GroupSend", send: true, call: func(ctx context.Context) error { return l.GroupSend(ctx, "room", text("by GroupSend")) }},
		{op: "GroupSend to an empty group", send: true, call: func(ctx context.Context) error { return l.GroupSend(ctx, "nobody", text("by GroupSend")) }},
		{op: "GroupAdd", call: func(ctx context.Context) error { return l.GroupAdd(ctx, "added", ch) }},
		{op: "GroupDiscard", call: func(ctx context.Context) error { return l.GroupDiscard(ctx, "room", ch) }},
		{op: "Receive", call: func(ctx context.Context) error { _, err := l.Receive(ctx, ch); return err }},
		{op: "Receive on a normal channel", call: func(ctx context.Context) error { _, err := l.Receive(ctx, "jobs"); return err }},
		{op: "ReceiveBatch", call: func(ctx context.Context) error { _, err := layer.ReceiveBatch(ctx, l, ch, buf); return err }},
		{op: "Ping", call: func(ctx context.Context) error { return layer.Ping(ctx, l) }},
		{op: "Release", call: func(ctx context.Context) error { return layer.Release(ctx, l, ch) }},
		{op: "Flush", call: func(ctx context.Context) error { return layer.Flush(ctx, l) }},
	}
}

func endedCtx(c *checker) {
	p := c.start(layer.Limits{})
	ch := p.mustNewChannel()
	p.mustGroupAdd("room", ch)
	p.mustSend(ch, text("before"))
	cancelled, cancel := context.WithCancel(c.ctx)
	cancel()
	late, cancelLate := context.WithDeadline(c.ctx, time.Now().Add(-time.Second))
	defer cancelLate()
	for _, call := range p.calls(ch) {
		for _, ctx := range []context.Context{cancelled, late} {
			var err error
			start := time.Now()
			c.guard(callLimit, call.op+" with an ended ctx", func() { err = call.call(ctx) })
			if took := time.Since(start); took > c.promptLimit() {
				c.errorf("%s with an ended ctx returned after %v, want promptly", call.op, took)
			}
			if errors.Is(err, errors.ErrUnsupported) {
				continue
			}
			if problem := wantError(err, ctx.Err()); problem != "" {
				c.errorf("%s with an ended ctx: %s", call.op, problem)
			}
			if call.send {
				if problem := wantError(err, layer.ErrNotSent); problem != "" {
					c.errorf("%s with an ended ctx: %s", call.op, problem)
				}
				c.checkOutcome(call.op, err)
			}
		}
	}
	// Nothing was done: the channel holds what it held, is there, and is in
	// the group that it was in, and in no other.
	p.expectOnly(p, ch, text("before"))
	p.expectEmpty(p, "jobs")
	p.mustGroupSend("added", text("not a member"))
	p.mustGroupSend("room", text("still a member"))
	p.expectOnly(p, ch, text("still a member"))
}

func receiveEndsPromptly(c *checker) {
	p := c.start(layer.Limits{})
	for _, ch := range []string{p.mustNewChannel(), "jobs"} {
		for _, receive := range []struct {
			op   string
			call func(ctx context.Context) error
		}{
			{"Receive", func(ctx context.Context) error { _, err := p.receiveCtx(ctx, ch); return err }},
			{"ReceiveBatch", func(ctx context.Context) error { _, err := p.batch(ctx, ch, make([]layer.Message, 2)); return err }},
		} {
			start := time.Now()
			ctx, cancel := context.WithTimeout(c.ctx, 2*c.unit)
			err := receive.call(ctx)
			took := time.Since(start)
			cancel()
			if problem := wantError(err, context.DeadlineExceeded); problem != "" {
				c.errorf("%s(%q) whose ctx ended: %s", receive.op, ch, problem)
			}
			if took < 2*c.unit || took > 2*c.unit+c.promptLimit() {
				c.errorf("%s(%q) returned after %v, want when ctx ended, after %v", receive.op, ch, took, 2*c.unit)
			}
		}
	}
}

func outcomeOfErrors(c *checker) {
	p := c.start(layer.Limits{Capacity: 1, MaxMessageSize: 50})
	ch := p.mustNewChannel()
	p.mustGroupAdd("room", ch)
	p.mustSend(ch, text("full"))
	p.mustSend("jobs", text("full"))
	ended, cancel := context.WithCancel(c.ctx)
	cancel()
	late, cancelLate := context.WithDeadline(c.ctx, time.Now().Add(-time.Second))
	defer cancelLate()
	invalid, large := layer.NewMessage(map[string]any{"v": struct{}{}}), layer.NewMessage(map[string]any{"v": make([]byte, 100)})
	for _, e := range []struct {
		what string
		err  error
		want error
	}{
		{"Send to an invalid name", p.send("a b", text("x")), layer.ErrInvalidName},
		{"GroupSend to an invalid name", p.groupSend("a!b", text("x")), layer.ErrInvalidName},
		{"Send of an invalid message", p.send(ch, invalid), layer.ErrInvalidMessage},
		{"GroupSend of an invalid message", p.groupSend("room", invalid), layer.ErrInvalidMessage},
		{"Send of a large message", p.send(ch, large), layer.ErrMessageTooLarge},
		{"GroupSend of a large message", p.groupSend("room", large), layer.ErrMessageTooLarge},
		{"Send to a full channel", p.send(ch, text("x")), layer.ErrChannelFull},
		{"Send to a full normal channel", p.send("jobs", text("x")), layer.ErrChannelFull},
		{"Send to a channel that does not exist", p.send(layer.ClientPrefix(ch)+"never-made", text("x")), layer.ErrChannelGone},
		{"Send with a cancelled ctx", p.sendCtx(ended, ch, text("x")), context.Canceled},
		{"GroupSend with a cancelled ctx", p.groupSendCtx(ended, "room", text("x")), context.Canceled},
		{"Send after its deadline", p.sendCtx(late, ch, text("x")), context.DeadlineExceeded},
		{"GroupSend after its deadline", p.groupSendCtx(late, "room", text("x")), context.DeadlineExceeded},
	} {
		if problem := wantError(e.err, e.want, layer.ErrNotSent); problem != "" {
			c.errorf("%s: %s", e.what, problem)
		}
	}
	p.expect(ch, text("full"))
	p.expectEmpty(p, ch)
	p.expect("jobs", text("full"))
	p.expectEmpty(p, "jobs")
}

func longDeadline(c *checker) {
	reader, writer := c.pair(layer.Limits{})
	ch := reader.mustNewChannel()
	reader.mustGroupAdd("room", ch)
	deadline, cancel := context.WithTimeout(c.ctx, time.Hour)
	defer cancel()
	for _, ctx := range []context.Context{deadline, context.Background()} {
		if err := writer.sendCtx(ctx, ch, text("a")); err != nil {
			c.errorf("Send returned error %v", err)
		}
		if err := writer.groupSendCtx(ctx, "room", text("b")); err != nil {
			c.errorf("GroupSend returned error %v", err)
		}
		for _, want := range []layer.Message{text("a"), text("b")} {
			if msg, err := reader.receiveCtx(ctx, ch); err != nil || !msg.Equal(want) {
				c.errorf("Receive(%q) returned %v, error %v, want %v", ch, msg, err, want)
			}
		}
	}
}
