package layertest

import (
	"context"
	"fmt"

	"github.com/channellayer/channellayer/layer"
)

func rule02() []check {
	return []check{
		{Rule: 2, Name: "Rule02FIFO/send_only", Both: true, Run: func(c *checker) { fifo(c, 3000, fifoSend) },
			Doc: "Messages sent to a process-specific channel arrive in order."},
		{Rule: 2, Name: "Rule02FIFO/group_send_only", Both: true, Run: func(c *checker) { fifo(c, 1000, fifoGroup) },
			Doc: "Messages sent to a group arrive in order at each member."},
		{Rule: 2, Name: "Rule02FIFO/send_and_group_send_mixed", Both: true, Run: func(c *checker) { fifo(c, 3000, fifoMixed) },
			Doc: "Send and GroupSend of one writer keep their order on a channel."},
		{Rule: 2, Name: "Rule02FIFO/several_groups", Both: true, Run: func(c *checker) { fifo(c, 3000, fifoGroups) },
			Doc: "Sends to several groups that all hold the channel keep their order on it."},
		{Rule: 2, Name: "Rule02FIFO/cancelled_receives_between", Both: true, Run: fifoCancelled,
			Doc: "Receives that are cancelled while messages arrive do not change their order."},
		{Rule: 2, Name: "Rule02FIFO/several_writers", Both: true, Run: fifoWriters,
			Doc: "On a channel that several goroutines write to, the messages of each are in order."},
		{Rule: 2, Name: "Rule02FIFO/normal_channel_one_reader", Both: true, Run: fifoNormal,
			Doc: "One reader of a normal channel sees the messages in order."},
		{Rule: 2, Name: "Rule02FIFO/sizes_mixed", Both: true, Run: fifoSizes,
			Doc: "Large messages do not overtake small ones, nor the other way round."},
		{Rule: 2, Name: "Rule02FIFO/after_full", Both: true, Run: fifoAfterFull,
			Doc: "A channel that was full keeps the order of what it accepted before and after."},
		{Rule: 2, Name: "Rule02FIFO/receive_batch", Both: true, Run: fifoBatch,
			Doc: "ReceiveBatch returns messages in order, also beside Receive."},
	}
}

// fifo sends messages while another goroutine receives. The writer stays at
// most window messages ahead: the check is about order, not about capacity.
func fifo(c *checker, count int, send func(c *checker, p *proc, channel string, n int) error) {
	const window = 40
	reader, writer := c.pair(layer.Limits{})
	channel := reader.mustNewChannel()
	for _, group := range fifoGroupNames {
		reader.mustGroupAdd(group, channel)
	}
	room := make(chan struct{}, window)
	end := c.goroutine("the writer", func() {
		for n := 1; n <= count; n++ {
			select {
			case room <- struct{}{}:
			case <-c.ctx.Done():
				return
			}
			if err := send(c, writer, channel, n); err != nil {
				c.fatalf("send of message n:%d returned error %v", n, err)
			}
		}
	})
	for n := 1; n <= count; n++ {
		reader.expect(channel, numbered("w", n))
		<-room
	}
	c.wait(end, callLimit)
	reader.expectEmpty(writer, channel)
}

var fifoGroupNames = [...]string{"g0", "g1", "g2"}

func fifoSend(c *checker, p *proc, channel string, n int) error {
	return p.layer.Send(c.ctx, channel, numbered("w", n))
}

func fifoGroup(c *checker, p *proc, _ string, n int) error {
	return p.layer.GroupSend(c.ctx, fifoGroupNames[0], numbered("w", n))
}

func fifoGroups(c *checker, p *proc, _ string, n int) error {
	return p.layer.GroupSend(c.ctx, fifoGroupNames[n%len(fifoGroupNames)], numbered("w", n))
}

func fifoMixed(c *checker, p *proc, channel string, n int) error {
	if n%3 == 0 || n%7 == 0 {
		return fifoGroup(c, p, channel, n)
	}
	return fifoSend(c, p, channel, n)
}

func fifoCancelled(c *checker) {
	reader, writer := c.pair(layer.Limits{})
	rng := c.random()
	for _, ch := range []string{reader.mustNewChannel(), "jobs"} {
		next := 1
		for n := 1; n <= 200; n++ {
			ctx, cancel := context.WithCancel(c.ctx)
			r := reader.startReceive(ctx, ch)
			if rng.IntN(2) == 0 {
				cancel()
			}
			writer.mustSend(ch, numbered("w", n))
			cancel()
			if msg, err := r.result(); err == nil {
				if !msg.Equal(numbered("w", next)) {
					c.fatalf("Receive(%q) returned %v, want message n:%d", ch, msg, next)
				}
				next++
			}
			for rng.IntN(3) == 0 && next <= n {
				reader.expect(ch, numbered("w", next))
				next++
			}
			if n-next > 50 {
				reader.expect(ch, series("w", next, n)...)
				next = n + 1
			}
		}
		reader.expectOnly(writer, ch, series("w", next, 200)...)
	}
}

func fifoWriters(c *checker) {
	const writers, each = 8, 12 // together below the default capacity
	reader, writer := c.pair(layer.Limits{})
	for _, ch := range []string{reader.mustNewChannel(), "jobs"} {
		var ends []chan struct{}
		for w := range writers {
			name := fmt.Sprint("w", w)
			ends = append(ends, c.goroutine("writer "+name, func() {
				for n := 1; n <= each; n++ {
					if err := writer.layer.Send(c.ctx, ch, numbered(name, n)); err != nil {
						c.fatalf("Send(%q) returned error %v", ch, err)
					}
				}
			}))
		}
		last := map[string]int64{}
		for range writers * each {
			msg := reader.mustReceive(ch)
			from, n := msg.String("from"), msg.Int("n")
			if n != last[from]+1 {
				c.fatalf("Receive(%q) returned message n:%d of writer %q, want its message n:%d", ch, n, from, last[from]+1)
			}
			last[from] = n
		}
		for _, end := range ends {
			c.wait(end, callLimit)
		}
	}
}

func fifoNormal(c *checker) {
	reader, writer := c.pair(layer.Limits{})
	reader.mustGroupAdd("g0", "jobs")
	for round := range 10 {
		first, last := round*50+1, round*50+50
		for n := first; n <= last; n++ {
			if n%5 == 0 {
				writer.mustGroupSend("g0", numbered("w", n))
			} else {
				writer.mustSend("jobs", numbered("w", n))
			}
		}
		reader.expect("jobs", series("w", first, last)...)
	}
	reader.expectEmpty(writer, "jobs")
}

func fifoSizes(c *checker) {
	reader, writer := c.pair(layer.Limits{})
	ch := reader.mustNewChannel()
	reader.mustGroupAdd("g0", ch)
	sizes := []int{0, 300_000, 10, 70_000, 1, 900_000, 5, 0}
	var want []layer.Message
	for n, size := range sizes {
		msg := layer.NewMessage(map[string]any{"n": n, "pad": make([]byte, size)})
		want = append(want, msg)
		if n%3 == 1 {
			writer.mustGroupSend("g0", msg)
		} else {
			writer.mustSend(ch, msg)
		}
	}
	for n, w := range want {
		if got := reader.mustReceive(ch); !got.Equal(w) {
			c.fatalf("Receive(%q) returned message n:%d of %d bytes, want n:%d of %d bytes", ch, got.Int("n"), got.Size(), n, w.Size())
		}
	}
}

func fifoAfterFull(c *checker) {
	reader, writer := c.pair(layer.Limits{Capacity: 10})
	for _, ch := range []string{reader.mustNewChannel(), "jobs"} {
		last := int64(0)
		for n := 1; n <= 300; n++ {
			_ = writer.send(ch, numbered("w", n)) // refused when full
			if n%3 == 0 {
				last = mustIncrease(c, ch, last, reader.mustReceive(ch))
			}
		}
		for _, msg := range reader.drain(ch) {
			last = mustIncrease(c, ch, last, msg)
		}
	}
}

func mustIncrease(c *checker, channel string, last int64, msg layer.Message) int64 {
	n := msg.Int("n")
	if n <= last {
		c.fatalf("Receive(%q) returned message n:%d after n:%d", channel, n, last)
	}
	return n
}

func fifoBatch(c *checker) {
	reader, writer := c.pair(layer.Limits{})
	rng := c.random()
	for _, ch := range []string{reader.mustNewChannel(), "jobs"} {
		next := 1
		for first := 1; first <= 500; first += 50 {
			writer.mustSend(ch, series("w", first, first+49)...)
			for next < first+50 {
				if rng.IntN(4) == 0 {
					reader.expect(ch, numbered("w", next))
					next++
					continue
				}
				buf := make([]layer.Message, 1+rng.IntN(20))
				n, err := reader.batch(c.ctx, ch, buf)
				if err != nil || n < 1 || n > len(buf) {
					c.fatalf("ReceiveBatch(%q) with room for %d returned %d, error %v, want 1 to %d messages", ch, len(buf), n, err, len(buf))
				}
				for _, msg := range buf[:n] {
					if !msg.Equal(numbered("w", next)) {
						c.fatalf("ReceiveBatch(%q) returned %v, want message n:%d", ch, msg, next)
					}
					next++
				}
			}
		}
		reader.expectEmpty(writer, ch)
	}
}
