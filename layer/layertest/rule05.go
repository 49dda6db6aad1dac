package layertest

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/channellayer/channellayer/layer"
)

func rule05() []check {
	return []check{
		{Rule: 5, Name: "Rule05Capacity/exact_own_channel", Run: func(c *checker) { exactCapacity(c, 7, layer.Limits{Capacity: 7}, "") },
			Doc: "A process-specific channel takes exactly Capacity messages, then ErrChannelFull at once, and one more for each that is received."},
		{Rule: 5, Name: "Rule05Capacity/exact_normal_channel", Both: true, Run: func(c *checker) { exactCapacity(c, 7, layer.Limits{Capacity: 7}, "jobs") },
			Doc: "A normal channel takes exactly Capacity messages, then ErrChannelFull at once, and one more for each that is received."},
		{Rule: 5, Name: "Rule05Capacity/one", Run: func(c *checker) { exactCapacity(c, 1, layer.Limits{Capacity: 1}, "") },
			Doc: "A capacity of one works."},
		{Rule: 5, Name: "Rule05Capacity/default", Run: func(c *checker) { exactCapacity(c, layer.DefaultCapacity, layer.Limits{}, "") },
			Doc: "Without configuration, a channel holds 100 messages."},
		{Rule: 5, Name: "Rule05Capacity/first_rule_counts", Run: capacityRules,
			Doc: "The first capacity rule whose pattern matches the whole name sets the capacity; without one, Capacity does."},
		{Rule: 5, Name: "Rule05Capacity/concurrent_senders", Both: true, Run: capacityConcurrent,
			Doc: "Concurrent senders together get no more than Capacity messages into a normal channel."},
		{Rule: 5, Name: "Rule05Capacity/concurrent_senders_own_channel", Run: capacityConcurrentOwn,
			Doc: "Concurrent senders together get no more than Capacity messages into a process-specific channel."},
		{Rule: 5, Name: "Rule05Capacity/group_send_skips_full", Both: true, Run: groupSendSkips,
			Doc: "GroupSend succeeds when a member is full, skips that one, reaches the others, and the skip is counted."},
		{Rule: 5, Name: "Rule05Capacity/slow_channel_delays_no_other", Both: true, Run: slowChannel,
			Doc: "While one channel of a process is full and unread, the others get every message, and without delay."},
		{Rule: 5, Name: "Rule05Capacity/expired_messages_make_room", Both: true, Run: expiredMakeRoom,
			Doc: "Messages that expired take up no room."},
		{Rule: 5, Name: "Rule05Capacity/waiting_receivers_take_no_room", Run: waitingTakeNoRoom,
			Doc: "A message that a receiver waits for does not count as unread."},
		{Rule: 5, Name: "Rule05Capacity/full_in_another_process", Peer: true, Run: fullElsewhere,
			Doc: "Of the messages that a process accepts for a full channel of another, those that are not delivered are counted."},
	}
}

func exactCapacity(c *checker, capacity int, limits layer.Limits, channel string) {
	reader, writer := c.pair(limits)
	if channel == "" {
		channel = reader.mustNewChannel()
	}
	for round := range 2 {
		first := round * 1000
		writer.fill(channel, first, capacity)
		reader.expect(channel, numbered("w", first))
		writer.fill(channel, first+capacity, 1)
		for n := range capacity {
			reader.expect(channel, numbered("w", first+1+n))
		}
	}
	reader.expectEmpty(writer, channel)
}

// fill sends count messages, which must be accepted, and three more, for which
// there must be no room.
func (p *proc) fill(channel string, first, count int) {
	for n := range count {
		if err := p.send(channel, numbered("w", first+n)); err != nil {
			p.c.fatalf("Send of message %d of %d to %q returned error %v, want room for it", n+1, count, channel, err)
		}
	}
	for range 3 {
		start := time.Now()
		err := p.send(channel, text("too many"))
		if problem := wantError(err, layer.ErrChannelFull, layer.ErrNotSent); problem != "" {
			p.c.fatalf("Send to %q, which is full: %s", channel, problem)
		}
		if took := time.Since(start); took > p.c.promptLimit() {
			p.c.errorf("Send to %q, which is full, returned after %v, want at once", channel, took)
		}
	}
}

func capacityRules(c *checker) {
	p := c.start(layer.Limits{Capacity: 4, CapacityRules: []layer.CapacityRule{
		{Pattern: "special-jobs", Capacity: 1},
		{Pattern: "*-jobs", Capacity: 2},
		{Pattern: "special-*", Capacity: 3},
		{Pattern: "?x[0-9]", Capacity: 5},
		{Pattern: "live*!*", Capacity: 6},
	}})
	for name, capacity := range map[string]int{
		"special-jobs": 1, "mail-jobs": 2, "special-thing": 3, "ax1": 5, "axb": 4, "aax1": 4, "mail-jobs-2": 4, "jobs": 4, "live": 4,
	} {
		p.fill(name, 0, capacity)
	}
	for prefix, capacity := range map[string]int{"live": 6, "": 4, "special-": 3} {
		name, err := p.newChannel(c.ctx, prefix)
		if err != nil {
			c.fatalf("NewChannel(%q) returned error %v", prefix, err)
		}
		p.fill(name, 0, capacity)
	}
}

func capacityConcurrent(c *checker) {
	reader, writer := c.pair(layer.Limits{Capacity: 20})
	checkConcurrentCapacity(c, "jobs", 20, reader, writer)
}

func capacityConcurrentOwn(c *checker) {
	p := c.start(layer.Limits{Capacity: 20})
	checkConcurrentCapacity(c, p.mustNewChannel(), 20, p, p)
}

func checkConcurrentCapacity(c *checker, channel string, capacity int, reader, writer *proc) {
	var accepted atomic.Int64
	var ends []chan struct{}
	for range 8 {
		ends = append(ends, c.goroutine("a sender", func() {
			for range capacity {
				err := writer.layer.Send(c.ctx, channel, text("x"))
				switch {
				case err == nil:
					accepted.Add(1)
				case !errors.Is(err, layer.ErrChannelFull):
					c.fatalf("Send(%q) returned error %v, want nil or ErrChannelFull", channel, err)
				}
			}
		}))
	}
	for _, end := range ends {
		c.wait(end, callLimit)
	}
	if n := accepted.Load(); n != int64(capacity) {
		c.errorf("8 concurrent senders got %d messages into %q, want its capacity, %d", n, channel, capacity)
	}
	if n := len(reader.drain(channel)); n != capacity {
		c.errorf("%q held %d messages, want its capacity, %d", channel, n, capacity)
	}
}

func groupSendSkips(c *checker) {
	reader, writer := c.pair(layer.Limits{Capacity: 3})
	channels := reader.mustNewChannels(3)
	full := channels[1]
	reader.mustGroupAdd("room", channels...)
	reader.fill(full, 0, 3)
	writer.mustGroupSend("room", numbered("g", 1), numbered("g", 2))
	reader.expectOnly(writer, channels[0], series("g", 1, 2)...)
	reader.expectOnly(writer, channels[2], series("g", 1, 2)...)
	reader.expect(full, series("w", 0, 2)...)
	reader.expectEmpty(writer, full)
	dropped := func() int {
		n := reader.seen.droppedOn(layer.DropFull, full)
		if writer != reader {
			n += writer.seen.droppedOn(layer.DropFull, full)
		}
		return n
	}
	if !c.eventually(func() bool { return dropped() == 2 }) {
		c.errorf("2 group sends met the full member %q, and the observer was told of %d messages dropped for it as %v", full, dropped(), layer.DropFull)
	}
	if n := int(reader.mustStats().Dropped[layer.DropFull]); writer == reader && n != 2 {
		c.errorf("2 group sends met the full member %q, and Stats counts %d messages dropped as %v", full, n, layer.DropFull)
	}
}

func slowChannel(c *checker) {
	reader, writer := c.pair(layer.Limits{Capacity: 10})
	slow := reader.mustNewChannel()
	fast := append(reader.mustNewChannels(3), "jobs")
	reader.mustGroupAdd("room", append(fast, slow)...)
	start := time.Now()
	for round := range 30 {
		for range 3 {
			_ = writer.send(slow, numbered("slow", round)) // refused, or dropped there, once full
		}
		for _, ch := range fast {
			writer.mustSend(ch, numbered("w", round))
		}
		writer.mustGroupSend("room", numbered("g", round))
		for _, ch := range fast {
			reader.expect(ch, numbered("w", round), numbered("g", round))
		}
	}
	if took := time.Since(start); took > callLimit {
		c.errorf("300 messages to channels beside a full one took %v, want less than %v", took, callLimit)
	}
}

func expiredMakeRoom(c *checker) {
	reader, writer := c.pair(layer.Limits{Capacity: 4, Expiry: 6 * c.unit})
	writer.fill("jobs", 0, 4)
	c.sleep(7)
	writer.fill("jobs", 10, 4)
	reader.expect("jobs", series("w", 10, 13)...)

	ch := reader.mustNewChannel()
	reader.mustSend(ch, series("w", 0, 3)...)
	c.sleep(3)
	reader.expect(ch, numbered("w", 0)) // its owner is there
	c.sleep(4)
	reader.mustSend(ch, series("w", 10, 13)...)
	reader.expect(ch, series("w", 10, 13)...)
}

func waitingTakeNoRoom(c *checker) {
	p := c.start(layer.Limits{Capacity: 2})
	ch := p.mustNewChannel()
	var waiting []*pending
	for range 3 {
		waiting = append(waiting, p.startReceive(c.ctx, ch))
		c.settle()
	}
	p.fill(ch, 0, 5)
	for i, r := range waiting {
		if msg, err := r.result(); err != nil || !msg.Equal(numbered("w", i)) {
			c.errorf("receiver %d got %v, error %v, want message n:%d", i, msg, err, i)
		}
	}
	p.expect(ch, series("w", 3, 4)...)
}

func fullElsewhere(c *checker) {
	reader := c.start(layer.Limits{Capacity: 5})
	writer := c.startPeer(reader, layer.Limits{Capacity: 5})
	ch := reader.mustNewChannel()
	accepted := 0
	for n := range 30 {
		switch err := writer.send(ch, numbered("w", n)); {
		case err == nil:
			accepted++
		case !errors.Is(err, layer.ErrChannelFull):
			c.fatalf("Send to the full channel of another process returned error %v, want nil or ErrChannelFull", err)
		}
	}
	balance := func() string {
		dropped := reader.seen.droppedOn(layer.DropFull, ch) + writer.seen.droppedOn(layer.DropFull, ch)
		if accepted == 5+dropped {
			return ""
		}
		return fmt.Sprintf("%d of 30 messages were accepted for a channel of capacity 5 in another process, and %d reported as dropped, want %d",
			accepted, dropped, accepted-5)
	}
	if !c.eventually(func() bool { return balance() == "" }) {
		c.errorf("%s", balance())
	}
	reader.expect(ch, series("w", 0, 4)...)
	reader.expectEmpty(writer, ch)
}
