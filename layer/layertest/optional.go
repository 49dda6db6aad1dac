package layertest

import (
	"context"
	"errors"

	"github.com/channellayer/channellayer/layer"
)

func optional() []check {
	return []check{
		{Name: "Optional/flush", Run: flushEmpties,
			Doc: "Flush drops what is unread and ends every membership; channels and receivers go on. What was dropped is counted as closed."},
		{Name: "Optional/flush_from_peer", Peer: true, Run: flushPeers,
			Doc: "Flush empties every process on the bus."},
		{Name: "Optional/ping", Run: pings,
			Doc: "Ping succeeds on a layer that works."},
		{Name: "Optional/stats_while_busy", Run: statsWhileBusy,
			Doc: "Stats may be read at any time; its counters never go back."},
	}
}

func flushEmpties(c *checker) {
	p := c.start(layer.Limits{})
	channels := p.mustNewChannels(2)
	waits := p.mustNewChannel()
	p.mustGroupAdd("room", append(channels, "jobs", waits)...)
	p.mustSend(channels[0], series("w", 1, 3)...)
	p.mustSend("jobs", numbered("w", 4))
	waiting := p.startReceive(c.ctx, waits)
	c.settle()
	p.mustFlush()
	p.mustGroupSend("room", text("to nobody"))
	for _, ch := range append(channels, "jobs") {
		p.expectEmpty(p, ch)
	}
	if waiting.returned() {
		msg, err := waiting.result()
		c.fatalf("Receive(%q), which waited during Flush, returned %v, error %v, want it to wait on", waits, msg, err)
	}
	p.mustSend(waits, text("after"))
	if msg, err := waiting.result(); err != nil || !msg.Equal(text("after")) {
		c.errorf("Receive(%q), which waited during Flush, returned %v, error %v, want what was sent afterwards", waits, msg, err)
	}
	p.mustGroupAdd("room", channels[0])
	p.mustGroupSend("room", text("to a member"))
	p.expectOnly(p, channels[0], text("to a member"))
	if n := p.seen.droppedOn(layer.DropClosed, channels[0]); n != 3 {
		c.errorf("Flush dropped 3 unread messages of %q, and the observer was told of %d as %v", channels[0], n, layer.DropClosed)
	}
}

func flushPeers(c *checker) {
	first := c.start(layer.Limits{})
	second := c.startPeer(first, layer.Limits{})
	procs := []*proc{first, second}
	var channels []string
	for _, p := range procs {
		ch := p.mustNewChannel()
		channels = append(channels, ch)
		p.mustGroupAdd("room", ch)
		p.mustSend(ch, text("unread"))
	}
	second.mustFlush()
	for _, writer := range procs {
		writer.mustGroupSend("room", text("to nobody"))
		for i, p := range procs {
			p.expectEmpty(writer, channels[i])
		}
	}
	first.mustGroupAdd("room", channels[0])
	second.mustGroupSend("room", text("after"))
	first.expectOnly(second, channels[0], text("after"))
}

func pings(c *checker) {
	p := c.start(layer.Limits{})
	for range 3 {
		var err error
		c.guard(callLimit, "Ping", func() { err = layer.Ping(c.ctx, p.layer) })
		if err != nil {
			c.errorf("Ping returned error %v, want nil", err)
		}
		c.sleep(1)
	}
}

func statsWhileBusy(c *checker) {
	p := c.start(layer.Limits{Capacity: 10})
	p.mustStats()
	ch := p.mustNewChannel()
	p.mustGroupAdd("room", ch)
	ctx, stop := context.WithCancel(c.ctx)
	defer stop()
	sender := c.goroutine("a sender", func() {
		for range 2000 {
			if err := p.layer.GroupSend(c.ctx, "room", text("x")); err != nil {
				c.fatalf("GroupSend returned error %v", err)
			}
		}
		stop()
	})
	received := uint64(0)
	receiver := c.goroutine("a receiver", func() {
		for {
			if _, err := p.layer.Receive(ctx, ch); err != nil {
				if !errors.Is(err, context.Canceled) {
					c.errorf("Receive returned error %v", err)
				}
				return
			}
			received++
		}
	})
	var last layer.Stats
	poller := c.goroutine("Stats in a loop", func() {
		for range 2000 {
			stats, _ := layer.ReadStats(p.layer)
			if stats.GroupSent < last.GroupSent || stats.Received < last.Received || stats.Dropped.Total() < last.Dropped.Total() {
				c.fatalf("Stats went from %+v to %+v", last, stats)
			}
			last = stats
		}
	})
	for _, end := range []chan struct{}{sender, receiver, poller} {
		c.wait(end, callLimit)
	}
	left := uint64(len(p.drain(ch)))
	stats := p.mustStats()
	if stats.GroupSent != 2000 || stats.Received != received+left || stats.Dropped[layer.DropFull] != 2000-received-left {
		c.errorf("after 2000 group sends to a member that received %d messages, Stats are %+v", received+left, stats)
	}
}
