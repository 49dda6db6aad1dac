package layertest

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/channellayer/channellayer/layer"
)

func rule11() []check {
	return []check{
		{Rule: 11, Name: "Rule11Close/again", Run: closeAgain,
			Doc: "Close may be called again, and by several goroutines at once; it returns nil."},
		{Rule: 11, Name: "Rule11Close/wakes_receivers", Run: closeWakes,
			Doc: "Every receiver that waits returns ErrClosed."},
		{Rule: 11, Name: "Rule11Close/methods_afterwards", Run: closedMethods,
			Doc: "Every method returns ErrClosed afterwards; sends say that nothing was sent."},
		{Rule: 11, Name: "Rule11Close/unread_counted", Run: closeCounts,
			Doc: "Messages that nobody had received are counted and reported as closed."},
		{Rule: 11, Name: "Rule11Close/during_calls", Both: true, Run: closeDuringCalls,
			Doc: "Close in the middle of sends and receives ends them all; each send was accepted or returns ErrClosed."},
		{Rule: 11, Name: "Rule11Close/leaves_nothing", Run: closeLeavesNothing,
			Doc: "A layer that was used in every way leaves no goroutine. (Every check looks for that at its end.)"},
		{Rule: 11, Name: "Rule11Close/unused", Run: func(c *checker) { c.start(layer.Limits{}) },
			Doc: "A layer that was never used can be closed, and leaves no goroutine."},
		{Rule: 11, Name: "Rule11Close/peers_go_on", Peer: true, Run: closePeers,
			Doc: "When one process closes, the others go on, and its channels are gone."},
	}
}

func closeAgain(c *checker) {
	p := c.start(layer.Limits{})
	p.mustSend(p.mustNewChannel(), text("unread"))
	var ends []chan struct{}
	for range 8 {
		ends = append(ends, c.goroutine("Close", func() {
			if err := p.layer.Close(); err != nil {
				c.errorf("one of 8 concurrent calls of Close returned error %v, want nil", err)
			}
		}))
	}
	for _, end := range ends {
		c.wait(end, callLimit)
	}
	if err := p.close(); err != nil {
		c.errorf("Close of a closed layer returned error %v, want nil", err)
	}
}

func closeWakes(c *checker) {
	p := c.start(layer.Limits{})
	var all []*pending
	for _, ch := range append(p.mustNewChannels(3), "jobs", "jobs", "mails") {
		all = append(all, p.startReceive(c.ctx, ch), p.startReceive(context.Background(), ch))
	}
	c.settle()
	if err := p.close(); err != nil {
		c.errorf("Close returned error %v", err)
	}
	for _, r := range all {
		msg, err := r.result()
		if problem := wantError(err, layer.ErrClosed); problem != "" {
			c.errorf("%s, which waited when the layer was closed, returned %v: %s", r.what, msg, problem)
		}
	}
}

func closedMethods(c *checker) {
	p := c.start(layer.Limits{})
	ch := p.mustNewChannel()
	p.mustGroupAdd("room", ch)
	p.mustSend(ch, text("unread"))
	p.mustSend("jobs", text("unread"))
	if err := p.close(); err != nil {
		c.errorf("Close returned error %v", err)
	}
	for _, call := range p.calls(ch) {
		var err error
		c.guard(callLimit, call.op+" on a closed layer", func() { err = call.call(c.ctx) })
		if errors.Is(err, errors.ErrUnsupported) || (call.op == "Ping" && err == nil) {
			continue // the fallback of Ping does not ask the layer
		}
		if problem := wantError(err, layer.ErrClosed); problem != "" {
			c.errorf("%s on a closed layer: %s", call.op, problem)
		}
		if call.send {
			c.checkOutcome(call.op, err)
			if !errors.Is(err, layer.ErrNotSent) {
				c.errorf("%s on a closed layer returned error %v, want it to match ErrNotSent", call.op, err)
			}
		}
	}
}

func closeCounts(c *checker) {
	p := c.start(layer.Limits{})
	channels := p.mustNewChannels(2)
	p.mustGroupAdd("room", channels...)
	p.mustSend(channels[0], series("w", 1, 3)...)
	p.mustGroupSend("room", text("x"))
	p.expect(channels[0], numbered("w", 1))
	if err := p.close(); err != nil {
		c.errorf("Close returned error %v", err)
	}
	if n := p.seen.dropped(); n[layer.DropClosed] != 4 || n.Total() != 4 {
		c.errorf("4 messages were unread when the layer was closed, and the observer was told of %d dropped as %v, and %d in all", n[layer.DropClosed], layer.DropClosed, n.Total())
	}
	if stats := p.mustStats(); stats.Dropped != p.seen.dropped() {
		c.errorf("after Close, Stats counts drops %v, and the observer was told of %v", stats.Dropped, p.seen.dropped())
	}
}

func closeDuringCalls(c *checker) {
	reader, writer := c.pair(layer.Limits{})
	channels := append(reader.mustNewChannels(3), "jobs")
	reader.mustGroupAdd("room", channels...)
	var ends []chan struct{}
	var calls, sends atomic.Int64
	busy := make(chan struct{}) // closed when many sends have been made
	loop := func(name string, call func() error) {
		ends = append(ends, c.goroutine(name, func() {
			for !c.stopped() {
				if calls.Add(1) > 50_000 {
					c.sleep(0.1) // in a bubble, a layer that waits for something needs time to pass
				}
				err := call()
				switch {
				case errors.Is(err, layer.ErrClosed):
					return
				case err != nil && !errors.Is(err, layer.ErrChannelFull):
					c.fatalf("%s while the layer was being closed returned error %v, want nil, ErrChannelFull or ErrClosed", name, err)
				}
			}
		}))
	}
	for i, ch := range channels {
		loop(fmt.Sprint("Send ", i), func() error {
			if sends.Add(1) == 2000 {
				close(busy)
			}
			err := writer.layer.Send(c.ctx, ch, text("x"))
			c.checkOutcome("Send", err)
			if errors.Is(err, layer.ErrChannelGone) && writer != reader {
				return layer.ErrClosed // it is the peer that was closed
			}
			return err
		})
		loop(fmt.Sprint("Receive ", i), func() error { _, err := reader.layer.Receive(c.ctx, ch); return err })
	}
	loop("GroupSend", func() error {
		err := writer.layer.GroupSend(c.ctx, "room", text("x"))
		c.checkOutcome("GroupSend", err)
		return err
	})
	c.wait(busy, callLimit)
	for _, p := range []*proc{reader, writer} {
		if err := p.close(); err != nil {
			c.errorf("Close returned error %v", err)
		}
	}
	for _, end := range ends {
		c.wait(end, callLimit)
	}
}

func closeLeavesNothing(c *checker) {
	p := c.start(c.shortExpiry())
	channels := append(p.mustNewChannels(50), "jobs", "mails")
	for i, ch := range channels {
		p.mustGroupAdd(fmt.Sprint("room", i%7), ch)
		if i%2 == 0 {
			p.startReceive(c.ctx, ch)
		}
		ctx, cancel := context.WithCancel(c.ctx)
		defer cancel()
		p.startReceive(ctx, ch)
	}
	for i := range 7 {
		p.mustGroupSend(fmt.Sprint("room", i), text("x"))
	}
	c.sleep(expiryUnits + 1)
	p.mustNewChannel()
	p.mustSend("never-read", text("unread"))
}

func closePeers(c *checker) {
	first := c.start(layer.Limits{})
	second := c.startPeer(first, layer.Limits{})
	ch, gone := first.mustNewChannel(), second.mustNewChannel()
	first.mustGroupAdd("room", ch)
	second.mustGroupAdd("room", gone)
	second.mustSend(ch, text("a"))
	if err := second.close(); err != nil {
		c.errorf("Close returned error %v", err)
	}
	first.expect(ch, text("a")) // of another sender than what follows
	first.mustGroupSend("room", text("b"))
	first.mustSend(ch, text("c"))
	first.expectOnly(first, ch, text("b"), text("c"))
	first.mustSend("jobs", text("d"))
	first.expect("jobs", text("d"))
	var err error
	if !c.eventually(func() bool { err = first.send(gone, text("e")); return errors.Is(err, layer.ErrChannelGone) }) {
		c.errorf("Send to %q, the channel of a process that has closed, returned error %v, want %v", gone, err, layer.ErrChannelGone)
	}
	third := c.startPeer(first, layer.Limits{})
	third.mustGroupSend("room", text("f"))
	first.expect(ch, text("f"))
}
