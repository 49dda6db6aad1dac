package layertest

import (
	"context"
	"errors"
	"fmt"

	"github.com/channellayer/channellayer/layer"
)

func released(c *checker) {
	p := c.start(layer.Limits{})
	channels := p.mustNewChannels(2)
	gone, kept := channels[0], channels[1]
	p.mustSend(gone, series("w", 1, 3)...)
	p.mustSend(kept, numbered("w", 4))
	p.mustRelease(gone)
	c.checkGone(p, gone)
	p.mustRelease(gone)
	if n := p.seen.droppedOn(layer.DropClosed, gone); n != 3 {
		c.errorf("3 unread messages were released with %q, and the observer was told of %d dropped there as %v", gone, n, layer.DropClosed)
	}
	p.expectOnly(p, kept, numbered("w", 4))
	if name := p.mustNewChannel(); name == gone {
		c.errorf("NewChannel returned %q again, which was released", name)
	}
}

func releaseWakes(c *checker) {
	p := c.start(layer.Limits{})
	ch := p.mustNewChannel()
	var all []*pending
	for range 4 {
		all = append(all, p.startReceive(c.ctx, ch))
	}
	c.settle()
	p.mustRelease(ch)
	for i, r := range all {
		msg, err := r.result()
		if problem := wantError(err, layer.ErrChannelGone); problem != "" {
			c.errorf("receiver %d of 4 that waited on %q while it was released returned %v: %s", i+1, ch, msg, problem)
		}
	}
}

func releaseRefuses(c *checker) {
	p, other := c.start(layer.Limits{}), c.start(layer.Limits{})
	p.mustSend("jobs", text("a"))
	c.wantInvalidName("Release", "jobs", p.release(c.ctx, "jobs"))
	for _, name := range badChannels() {
		c.wantInvalidName("Release", name, p.release(c.ctx, name))
	}
	ch := other.mustNewChannel()
	if problem := wantError(p.release(c.ctx, ch), layer.ErrForeignChannel); problem != "" {
		c.errorf("Release(%q), which another layer made: %s", ch, problem)
	}
	other.mustSend(ch, text("b"))
	other.expectOnly(other, ch, text("b"))
	p.expectOnly(p, "jobs", text("a"))
	if err := p.release(c.ctx, layer.ClientPrefix(p.mustNewChannel())+"never-made"); err != nil {
		c.errorf("Release of a channel of this layer that does not exist returned error %v, want nil", err)
	}
}

func messagesIterator(c *checker) {
	reader, writer := c.pair(layer.Limits{})
	for _, ch := range []string{reader.mustNewChannel(), "jobs"} {
		writer.mustSend(ch, series("w", 1, 6)...)
		ctx, cancel := context.WithCancel(c.ctx)
		next := 1
		var last error
		read := func(stop func(n int) bool) {
			c.guard(callLimit, fmt.Sprintf("the loop over Messages(%q)", ch), func() {
				for msg, err := range layer.Messages(ctx, reader.layer, ch) {
					if last = err; err != nil {
						continue // an iterator that goes on after an error would not end
					}
					if !msg.Equal(numbered("w", next)) {
						c.errorf("Messages(%q) yielded %v, want message n:%d", ch, msg, next)
						return
					}
					next++
					if stop(next - 1) {
						return
					}
				}
			})
		}
		read(func(n int) bool { return n == 3 })
		read(func(n int) bool {
			if n == 6 {
				cancel()
			}
			return false
		})
		cancel()
		if next != 7 || !errors.Is(last, context.Canceled) {
			c.errorf("Messages(%q) yielded %d of 6 messages, and the error %v last, want context.Canceled", ch, next-1, last)
		}
	}
}

func batchReceives(c *checker) {
	reader, writer := c.pair(layer.Limits{})
	for _, ch := range []string{reader.mustNewChannel(), "jobs"} {
		if n, err := reader.batch(c.ctx, ch, nil); n != 0 || err != nil {
			c.errorf("ReceiveBatch(%q) with an empty buffer returned %d, error %v, want 0 and nil at once", ch, n, err)
		}
		buf := make([]layer.Message, 10)
		var n int
		var err error
		done := c.goroutine("ReceiveBatch", func() { n, err = layer.ReceiveBatch(c.ctx, reader.layer, ch, buf) })
		c.settle()
		writer.mustSend(ch, numbered("w", 0))
		c.wait(done, callLimit)
		if n != 1 || err != nil || !buf[0].Equal(numbered("w", 0)) {
			c.fatalf("ReceiveBatch(%q) that waited returned %d messages, the first %v, error %v, want the one that was sent", ch, n, buf[0], err)
		}
		writer.mustSend(ch, series("w", 1, 5)...)
		reader.expectBatches(ch, 3, 1, 5)
		reader.expectEmpty(writer, ch)
	}
}

// expectBatches receives the messages first to last with a buffer of the given
// length. A layer on a broker may return fewer at a time than have been sent.
func (p *proc) expectBatches(ch string, room, first, last int) {
	for next := first; next <= last; {
		buf := make([]layer.Message, room+1)
		spare := text("not to be touched")
		buf[room] = spare
		n, err := p.batch(p.c.ctx, ch, buf[:room])
		if err != nil || n < 1 || n > room {
			p.c.fatalf("ReceiveBatch(%q) with room for %d returned %d, error %v", ch, room, n, err)
		}
		if !buf[room].Equal(spare) {
			p.c.errorf("ReceiveBatch(%q) wrote beyond its buffer", ch)
		}
		for _, msg := range buf[:n] {
			if !msg.Equal(numbered("w", next)) {
				p.c.fatalf("ReceiveBatch(%q) returned %v, want message n:%d", ch, msg, next)
			}
			next++
		}
	}
}

func batchCancelled(c *checker) {
	p := c.start(layer.Limits{})
	rng := c.random()
	for _, ch := range []string{p.mustNewChannel(), "jobs"} {
		next := 0
		for n := range 200 {
			ctx, cancel := context.WithCancel(c.ctx)
			buf := make([]layer.Message, 4)
			var count int
			var err error
			done := c.goroutine("ReceiveBatch", func() { count, err = layer.ReceiveBatch(ctx, p.layer, ch, buf) })
			c.settleBriefly()
			c.race(rng, cancel, func() { p.mustSend(ch, numbered("w", n)) })
			c.wait(done, callLimit)
			if err != nil && (count != 0 || !errors.Is(err, context.Canceled)) {
				c.fatalf("ReceiveBatch(%q) whose ctx was cancelled returned %d messages and error %v, want none and context.Canceled", ch, count, err)
			}
			for _, msg := range buf[:count] {
				if !msg.Equal(numbered("w", next)) {
					c.fatalf("ReceiveBatch(%q) returned %v, want message n:%d", ch, msg, next)
				}
				next++
			}
			if n-next > 50 {
				p.expect(ch, series("w", next, n)...)
				next = n + 1
			}
		}
		p.expectOnly(p, ch, series("w", next, 199)...)
	}
}
