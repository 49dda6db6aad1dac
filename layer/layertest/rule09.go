package layertest

import (
	"context"
	"errors"
	"math/rand/v2"

	"github.com/channellayer/channellayer/layer"
)

func rule09() []check {
	return []check{
		{Rule: 9, Name: "Rule09Receive/waits", Both: true, Run: receiveWaits,
			Doc: "Receive waits for a message, and returns the one that is sent."},
		{Rule: 9, Name: "Rule09Receive/order_of_arrival", Both: true, Run: orderOfArrival,
			Doc: "Receivers that wait on a channel are served in the order in which they came, also when some of them gave up."},
		{Rule: 9, Name: "Rule09Receive/cancel_consumes_nothing", Both: true, Run: cancelConsumesNothing,
			Doc: "However a cancellation and a send meet, the message is either returned or there for the next receiver."},
		{Rule: 9, Name: "Rule09Receive/cancel_serves_the_next", Both: true, Run: cancelServesNext,
			Doc: "Where many receivers wait and some are cancelled while messages come, the rest get every message the cancelled ones did not return."},
		{Rule: 9, Name: "Rule09Receive/ended_ctx_first", Run: endedCtxFirst,
			Doc: "A ctx that is already done is reported before any message is taken, by Receive and ReceiveBatch."},
		{Rule: 9, Name: "Rule09Receive/ctx_error", Run: ctxError,
			Doc: "A Receive that ctx ends returns ctx's error: Canceled or DeadlineExceeded."},
		{Rule: 9, Name: "Rule09Receive/one_message_one_receiver", Run: oneMessageOneReceiver,
			Doc: "One message wakes one of many receivers; the others go on waiting."},
		{Rule: 9, Name: "Rule09Receive/foreign_channel", Run: foreignChannel,
			Doc: "Receive on another layer's channel is ErrForeignChannel."},
		{Rule: 9, Name: "Rule09Receive/foreign_channel_of_peer", Peer: true, Run: foreignPeer,
			Doc: "Receive on the channel of another process of the bus is ErrForeignChannel, and takes nothing."},
		{Rule: 9, Name: "Rule09Receive/unknown_channel", Run: unknownChannel,
			Doc: "A process-specific channel that this layer could have made, but did not, is ErrChannelGone."},
		{Rule: 9, Name: "Rule09Receive/released", Run: released,
			Doc: "A released channel is ErrChannelGone, its unread messages are counted as closed, and other channels are not affected."},
		{Rule: 9, Name: "Rule09Receive/release_wakes_receivers", Run: releaseWakes,
			Doc: "Receivers that wait on a channel return ErrChannelGone when it is released."},
		{Rule: 9, Name: "Rule09Receive/release_refuses", Run: releaseRefuses,
			Doc: "Release refuses normal channels and those of other layers, and does nothing for one that is gone already."},
		{Rule: 9, Name: "Rule09Receive/messages", Both: true, Run: messagesIterator,
			Doc: "Messages yields what arrives, loses nothing when the loop is left, and ends with ctx's error."},
		{Rule: 9, Name: "Rule09Receive/batch", Both: true, Run: batchReceives,
			Doc: "ReceiveBatch waits for one message, then takes all that are there, up to the length of the buffer."},
		{Rule: 9, Name: "Rule09Receive/batch_cancelled", Run: batchCancelled,
			Doc: "A ReceiveBatch that ctx ends takes nothing, however it meets a send."},
	}
}

func receiveWaits(c *checker) {
	reader, writer := c.pair(layer.Limits{})
	for _, ch := range []string{reader.mustNewChannel(), "jobs"} {
		reader.mustGroupAdd("room-"+ch[:4], ch)
		for _, send := range []func(layer.Message){
			func(msg layer.Message) { writer.mustSend(ch, msg) },
			func(msg layer.Message) { writer.mustGroupSend("room-"+ch[:4], msg) },
		} {
			r := reader.startReceive(c.ctx, ch)
			c.sleep(1)
			if r.returned() {
				msg, err := r.result()
				c.fatalf("Receive(%q) on an empty channel returned %v, error %v, want it to wait", ch, msg, err)
			}
			send(text("a"))
			if msg, err := r.result(); err != nil || !msg.Equal(text("a")) {
				c.fatalf("Receive(%q) returned %v, error %v, want %v", ch, msg, err, text("a"))
			}
		}
	}
}

func orderOfArrival(c *checker) {
	const receivers = 6
	reader, writer := c.pair(layer.Limits{})
	for _, ch := range []string{reader.mustNewChannel(), "jobs"} {
		ctx, cancel := context.WithCancel(c.ctx)
		var waiting []*pending
		for i := range receivers {
			rctx := c.ctx
			if i == 0 || i == 3 {
				rctx = ctx
			}
			r := reader.startReceive(rctx, ch)
			c.settle()
			if rctx == c.ctx {
				waiting = append(waiting, r)
			}
		}
		cancel()
		c.settle()
		for i, r := range waiting {
			writer.mustSend(ch, numbered("w", i))
			if msg, err := r.result(); err != nil || !msg.Equal(numbered("w", i)) {
				c.fatalf("receiver %d of those that wait on %q got %v, error %v, want message n:%d", i, ch, msg, err, i)
			}
		}
	}
}

func cancelConsumesNothing(c *checker) {
	reader, writer := c.pair(layer.Limits{})
	rng := c.random()
	for _, ch := range []string{reader.mustNewChannel(), "jobs"} {
		taken := 0
		for n := range 400 {
			ctx, cancel := context.WithCancel(c.ctx)
			r := reader.startReceive(ctx, ch)
			if rng.IntN(2) == 0 {
				c.settleBriefly()
			}
			c.race(rng, cancel, func() { writer.mustSend(ch, numbered("w", n)) })
			msg, err := r.result()
			if err == nil {
				taken++
			} else {
				if !errors.Is(err, context.Canceled) {
					c.fatalf("Receive(%q) whose ctx was cancelled returned error %v", ch, err)
				}
				msg, err = reader.receive(ch, arriveLimit)
			}
			if err != nil || !msg.Equal(numbered("w", n)) {
				c.fatalf("after a cancelled Receive met Send(%q) of message n:%d, the next Receive returned %v, error %v", ch, n, msg, err)
			}
		}
		c.notef("%s: %d of 400 messages were returned in spite of the cancellation", ch, taken)
	}
}

// settleBriefly is settle where nothing depends on it but variety.
func (c *checker) settleBriefly() {
	if c.backend.Clock.Virtual {
		c.settle()
	}
}

// race does both, so that either may be first or meet the other halfway.
func (c *checker) race(rng *rand.Rand, cancel, send func()) {
	done := make(chan struct{})
	switch rng.IntN(3) {
	case 0:
		done = c.goroutine("the cancellation", cancel)
		send()
	case 1:
		done = c.goroutine("the send", send)
		cancel()
	case 2:
		close(done)
		cancel()
		send()
	}
	c.wait(done, callLimit)
}

func cancelServesNext(c *checker) {
	const rounds, receivers = 20, 8
	reader, writer := c.pair(layer.Limits{})
	rng := c.random()
	for _, ch := range []string{reader.mustNewChannel(), "jobs"} {
		for round := range rounds {
			ctx, cancel := context.WithCancel(c.ctx)
			var all []*pending
			for range receivers {
				rctx := c.ctx
				if rng.IntN(2) == 0 {
					rctx = ctx
				}
				all = append(all, reader.startReceive(rctx, ch))
			}
			c.settleBriefly()
			c.race(rng, cancel, func() { writer.mustSend(ch, series("w", 1, receivers)...) })
			// As many messages as receivers: those that were not cancelled
			// are all served, and what is left is as much as was cancelled.
			got := map[int64]bool{}
			cancelled := 0
			for _, r := range all {
				msg, err := r.result()
				if errors.Is(err, context.Canceled) {
					cancelled++
					continue
				}
				if err != nil || got[msg.Int("n")] {
					c.fatalf("round %d: Receive(%q) returned %v, error %v, want a message that no other got", round, ch, msg, err)
				}
				got[msg.Int("n")] = true
			}
			for range cancelled {
				msg := reader.mustReceive(ch)
				if got[msg.Int("n")] {
					c.fatalf("round %d: Receive(%q) returned %v for the second time", round, ch, msg)
				}
				got[msg.Int("n")] = true
			}
			reader.expectEmpty(writer, ch)
		}
	}
}

func endedCtxFirst(c *checker) {
	p := c.start(layer.Limits{})
	for _, ch := range []string{p.mustNewChannel(), "jobs"} {
		p.mustSend(ch, series("w", 1, 2)...)
		for range 20 { // a choice between two ready events may go right by chance
			ctx, cancel := context.WithCancel(c.ctx)
			cancel()
			if msg, err := p.receiveCtx(ctx, ch); !errors.Is(err, context.Canceled) {
				c.fatalf("Receive(%q) with an ended ctx returned %v, error %v, want context.Canceled", ch, msg, err)
			}
			if n, err := p.batch(ctx, ch, make([]layer.Message, 2)); n != 0 || !errors.Is(err, context.Canceled) {
				c.fatalf("ReceiveBatch(%q) with an ended ctx returned %d messages, error %v, want context.Canceled", ch, n, err)
			}
		}
		p.expectOnly(p, ch, series("w", 1, 2)...)
	}
}

func ctxError(c *checker) {
	p := c.start(layer.Limits{})
	for _, ch := range []string{p.mustNewChannel(), "jobs"} {
		_, err := p.receive(ch, c.unit)
		if problem := wantError(err, context.DeadlineExceeded); problem != "" {
			c.errorf("Receive(%q) whose ctx passed its deadline: %s", ch, problem)
		}
		ctx, cancel := context.WithCancel(c.ctx)
		r := p.startReceive(ctx, ch)
		c.settle()
		cancel()
		_, err = r.result()
		if problem := wantError(err, context.Canceled); problem != "" {
			c.errorf("Receive(%q) whose ctx was cancelled: %s", ch, problem)
		}
	}
}

func oneMessageOneReceiver(c *checker) {
	p := c.start(layer.Limits{})
	for _, ch := range []string{p.mustNewChannel(), "jobs"} {
		ctx, cancel := context.WithCancel(c.ctx)
		var all []*pending
		for range 5 {
			all = append(all, p.startReceive(ctx, ch))
		}
		c.settle()
		p.mustSend(ch, text("one"))
		c.sleep(1)
		cancel()
		served := 0
		for _, r := range all {
			if msg, err := r.result(); err == nil {
				served++
			} else if !errors.Is(err, context.Canceled) {
				c.errorf("Receive(%q) returned %v, error %v", ch, msg, err)
			}
		}
		if served != 1 {
			c.errorf("one message on %q was returned by %d of 5 receivers, want 1", ch, served)
		}
	}
}

func foreignChannel(c *checker) {
	p, other := c.start(layer.Limits{}), c.start(layer.Limits{})
	for _, ch := range []string{other.mustNewChannel(), "elsewhere.nobody!1"} {
		msg, err := p.receive(ch, c.unit)
		if problem := wantError(err, layer.ErrForeignChannel); problem != "" {
			c.errorf("Receive(%q), which another layer made, returned %v: %s", ch, msg, problem)
		}
		_, err = p.batch(c.ctx, ch, make([]layer.Message, 1))
		if problem := wantError(err, layer.ErrForeignChannel); problem != "" {
			c.errorf("ReceiveBatch(%q), which another layer made: %s", ch, problem)
		}
	}
}

func foreignPeer(c *checker) {
	first := c.start(layer.Limits{})
	second := c.startPeer(first, layer.Limits{})
	ch := first.mustNewChannel()
	first.mustSend(ch, text("a"))
	msg, err := second.receive(ch, c.unit)
	if problem := wantError(err, layer.ErrForeignChannel); problem != "" {
		c.errorf("Receive(%q), which another process made, returned %v: %s", ch, msg, problem)
	}
	second.mustSend(ch, text("b"))
	first.expect(ch, text("a"), text("b"))
}

func unknownChannel(c *checker) {
	p := c.start(layer.Limits{})
	c.checkGone(p, layer.ClientPrefix(p.mustNewChannel())+"never-made")
}
