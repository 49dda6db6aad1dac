package layertest

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/channellayer/channellayer/layer"
)

func rule12() []check {
	return []check{
		{Rule: 12, Name: "Rule12NothingSilent/books_balance", Both: true, Run: booksBalance,
			Doc: "Over a random run, every message that was accepted was either received or reported as dropped."},
		{Rule: 12, Name: "Rule12NothingSilent/stats", Run: statsCount,
			Doc: "Stats counts what was sent, received, dropped and abandoned, and agrees with the observer."},
		{Rule: 12, Name: "Rule12NothingSilent/reasons", Run: dropReasons,
			Doc: "Each drop is reported once, under its reason, with the channel's name."},
		{Rule: 12, Name: "Rule12NothingSilent/refused_is_not_dropped", Run: refusedNotDropped,
			Doc: "A send that returned an error is not counted as sent, nor as dropped."},
		{Rule: 12, Name: "Rule12NothingSilent/observer_may_call_back", Run: observerCallsBack,
			Doc: "The observer is called without locks: it may call the layer."},
		{Rule: 12, Name: "Rule12NothingSilent/no_gap_without_cause", Both: true, Run: noGap,
			Doc: "A layer whose broker is there reports no gap, in use or idle. (Every check looks for that at its end.)"},
	}
}

func booksBalance(c *checker) {
	// Long enough that a slow machine does not abandon a channel between two
	// rounds over all of them: a group has all its members throughout.
	const expiry = 4 * expiryUnits
	reader, writer := c.pair(layer.Limits{Capacity: 5, Expiry: expiry * c.unit})
	rng := c.random()
	channels := append(reader.mustNewChannels(5), "jobs")
	groups := map[string]int{"small": 2, "large": len(channels)}
	for group, n := range groups {
		reader.mustGroupAdd(group, channels[:n]...)
	}
	expected, received := 0, 0
	receive := func(ch string) {
		if _, err := reader.receive(ch, c.unit/100); err == nil {
			received++
		}
	}
	round := time.Now()
	for range 300 {
		if time.Since(round) > expiry*c.unit/4 {
			for _, ch := range channels {
				receive(ch)
			}
			round = time.Now()
		}
		ch := channels[rng.IntN(len(channels))]
		switch k := rng.IntN(20); {
		case k < 9:
			if writer.send(ch, text("x")) == nil {
				expected++
			}
		case k < 12:
			for group, n := range groups {
				writer.mustGroupSend(group, text("g"))
				expected += n
			}
		case k < 19:
			receive(ch)
		default:
			c.sleep(2)
		}
	}
	dropped := func() int {
		n := reader.seen.dropped().Total()
		if writer != reader {
			n += writer.seen.dropped().Total()
		}
		return int(n)
	}
	c.sleep(expiry + 1)
	if !c.eventually(func() bool { return expected == received+dropped() }) {
		c.errorf("of %d messages accepted (a group send counts once for each member), %d were received and %d reported as dropped: %d are missing. The reader reported %v",
			expected, received, dropped(), expected-received-dropped(), describe(reader.seen.dropped()))
	}
}

// describe shows the reasons that occur.
func describe(d layer.Drops) string {
	out := ""
	for reason, n := range d {
		if n > 0 {
			out += fmt.Sprintf("%v: %d, ", layer.DropReason(reason), n)
		}
	}
	if out == "" {
		return "no drops"
	}
	return out[:len(out)-2]
}

func statsCount(c *checker) {
	p := c.start(layer.Limits{Capacity: 3, Expiry: expiryUnits * c.unit})
	before := p.mustStats()
	if before != (layer.Stats{}) {
		c.errorf("a new layer's Stats are %+v, want all 0", before)
	}
	channels := p.mustNewChannels(3)
	p.mustGroupAdd("room", channels...)
	p.mustSend(channels[0], series("w", 1, 2)...)
	p.mustGroupSend("room", numbered("g", 1), numbered("g", 2))
	p.mustGroupSend("nobody", text("x"))
	p.expect(channels[0], series("w", 1, 2)...)
	buf := make([]layer.Message, 5)
	n, err := p.batch(c.ctx, channels[1], buf)
	if err != nil || n != 2 {
		c.fatalf("ReceiveBatch returned %d, error %v, want 2 messages", n, err)
	}
	p.mustRelease(channels[0])
	want := layer.Stats{Sent: 2, GroupSent: 3, Received: 4}
	want.Dropped[layer.DropFull] = 1
	want.Dropped[layer.DropClosed] = 1
	if got := p.mustStats(); got != want {
		c.errorf("Stats are %+v, want %+v", got, want)
	}
	c.sleep(expiryUnits + 1) // channels[2] is abandoned, with two messages
	want.Abandoned = 1
	want.Dropped[layer.DropExpired] = 2
	if !c.eventually(func() bool { return p.mustStats() == want }) {
		c.errorf("Stats are %+v, want %+v", p.mustStats(), want)
	}
	if p.seen.dropped() != want.Dropped {
		c.errorf("the observer was told of drops %s, want %s as in Stats", describe(p.seen.dropped()), describe(want.Dropped))
	}
}

func dropReasons(c *checker) {
	p := c.start(layer.Limits{Capacity: 2, Expiry: expiryUnits * c.unit})
	channels := p.mustNewChannels(2)
	full, unread := channels[0], channels[1]
	p.mustGroupAdd("room", full)
	p.mustGroupSend("room", series("g", 1, 5)...)
	p.mustSend("jobs", text("expires"))
	p.mustSend(unread, text("closed with its channel"))
	p.mustRelease(unread)
	p.expect(full, series("g", 1, 2)...)
	c.sleep(expiryUnits + 1)
	late := p.mustNewChannels(1)[0] // what waits on a normal channel may outlive the layer, at its broker
	p.mustSend(late, text("closed with the layer"))
	want := []struct {
		reason layer.DropReason
		name   string
		count  int
	}{{layer.DropFull, full, 3}, {layer.DropExpired, "jobs", 1}, {layer.DropClosed, unread, 1}, {layer.DropClosed, late, 1}}
	c.eventually(func() bool { return p.seen.droppedOn(layer.DropExpired, "jobs") > 0 })
	if err := p.close(); err != nil {
		c.errorf("Close returned error %v", err)
	}
	for _, w := range want {
		if n := p.seen.droppedOn(w.reason, w.name); n != w.count {
			c.errorf("the observer was told of %d messages for %q dropped as %v, want %d", n, w.name, w.reason, w.count)
		}
	}
	if n := p.seen.dropped().Total(); n != 6 {
		c.errorf("the observer was told of %d dropped messages (%s), want 6", n, describe(p.seen.dropped()))
	}
}

func refusedNotDropped(c *checker) {
	p := c.start(layer.Limits{Capacity: 1, MaxMessageSize: 50})
	ch := p.mustNewChannel()
	p.mustSend(ch, text("x"))
	ended, cancel := context.WithCancel(c.ctx)
	cancel()
	for _, err := range []error{
		p.send(ch, text("no room")),
		p.send("a b", text("x")),
		p.send(layer.ClientPrefix(ch)+"never-made", text("x")),
		p.send("jobs", layer.NewMessage(map[string]any{"v": make([]byte, 100)})),
		p.groupSend("room", layer.NewMessage(map[string]any{"v": make([]byte, 100)})),
		p.sendCtx(ended, "jobs", text("x")),
		p.groupSendCtx(ended, "room", text("x")),
	} {
		if err == nil {
			c.errorf("a send that must be refused was accepted")
		}
	}
	if n := p.seen.dropped().Total(); n != 0 {
		c.errorf("sends were refused with errors, and the observer was told of drops: %s", describe(p.seen.dropped()))
	}
	if stats := p.mustStats(); stats.Sent != 1 || stats.GroupSent != 0 || stats.Dropped.Total() != 0 {
		c.errorf("one send was accepted and the others refused, and Stats are %+v", stats)
	}
}

func observerCallsBack(c *checker) {
	p := c.start(layer.Limits{Capacity: 2, Expiry: expiryUnits * c.unit})
	channels := p.mustNewChannels(3)
	p.mustGroupAdd("room", channels...)
	ended, cancel := context.WithCancel(c.ctx)
	cancel()
	var calls atomic.Int32
	p.seen.onEvent(func() {
		if calls.Add(1) > 20 { // what is called here may cause an event itself
			return
		}
		l := p.layer
		for _, ch := range append(channels, "jobs") {
			_ = l.Send(c.ctx, ch, text("from the observer"))
			_, _ = l.Receive(ended, ch)
			_ = l.GroupAdd(c.ctx, "observed", ch)
			_ = l.GroupDiscard(c.ctx, "observed", ch)
		}
		_ = l.GroupSend(c.ctx, "room", text("from the observer"))
		_, _ = l.NewChannel(c.ctx, "")
		_ = layer.Release(c.ctx, l, layer.ClientPrefix(channels[0])+"never-made")
		layer.ReadStats(l)
	})
	p.mustSend("jobs", text("expires"))
	p.mustGroupSend("room", series("g", 1, 4)...) // full
	c.sleep(expiryUnits + 1)                      // expired, abandoned
	if !c.eventually(func() bool { return calls.Load() > 1 }) {
		c.errorf("members were full and messages expired, and the observer was called %d times", calls.Load())
	}
	p.mustSend("mails", text("closed")) // closed, by the end of the check
}

func noGap(c *checker) {
	reader, writer := c.pair(layer.Limits{})
	ch := reader.mustNewChannel()
	reader.mustGroupAdd("room", ch)
	for n := range 5 {
		writer.mustSend(ch, numbered("w", n))
		writer.mustGroupSend("room", numbered("g", n))
		reader.expectOnly(writer, ch, numbered("w", n), numbered("g", n))
		c.sleep(4)
	}
}
