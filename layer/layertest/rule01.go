package layertest

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/channellayer/channellayer/layer"
)

func rule01() []check {
	return []check{
		{Rule: 1, Name: "Rule01AtMostOnce/many_receivers_normal_channel", Both: true, Run: onceNormal,
			Doc: "Each message on a normal channel goes to one of many receivers, once."},
		{Rule: 1, Name: "Rule01AtMostOnce/many_receivers_own_channel", Both: true, Run: onceOwn,
			Doc: "Each message on a process-specific channel goes to one of many receivers, once."},
		{Rule: 1, Name: "Rule01AtMostOnce/receivers_in_two_processes", Peer: true, Run: onceTwoProcesses,
			Doc: "Receivers in two processes share the messages of a normal channel, and none gets one that another got."},
		{Rule: 1, Name: "Rule01AtMostOnce/group_member_added_twice", Both: true, Run: onceAddedTwice,
			Doc: "A channel that was added to a group several times gets each group message once."},
		{Rule: 1, Name: "Rule01AtMostOnce/no_repeat_after_receive", Both: true, Run: onceNoRepeat,
			Doc: "What was received does not come again: not after a cancelled Receive, not after another send."},
	}
}

const onceMessages = 60 // fewer than the default capacity

func onceNormal(c *checker) {
	reader, writer := c.pair(layer.Limits{})
	checkOnce(c, writer, "jobs", []*proc{reader})
}

func onceOwn(c *checker) {
	reader, writer := c.pair(layer.Limits{})
	checkOnce(c, writer, reader.mustNewChannel(), []*proc{reader})
}

func onceTwoProcesses(c *checker) {
	first := c.start(layer.Limits{})
	checkOnce(c, first, "jobs", []*proc{first, c.startPeer(first, layer.Limits{})})
}

// checkOnce sends to one channel that eight goroutines of each reader receive
// on.
func checkOnce(c *checker, writer *proc, channel string, readers []*proc) {
	ctx, stop := context.WithCancel(c.ctx)
	defer stop()
	var mu sync.Mutex
	got := map[int64]int{}
	total := 0
	var ends []chan struct{}
	for _, r := range readers {
		for i := range 8 {
			ends = append(ends, c.goroutine(fmt.Sprintf("receiver %d", i), func() {
				for {
					msg, err := r.layer.Receive(ctx, channel)
					if err != nil {
						if !errors.Is(err, context.Canceled) {
							c.errorf("Receive(%q) returned error %v", channel, err)
						}
						return
					}
					mu.Lock()
					got[msg.Int("n")]++
					total++
					mu.Unlock()
				}
			}))
		}
	}
	c.settle() // so that receivers wait
	writer.mustSend(channel, series("w", 1, onceMessages)...)
	received := func() int { mu.Lock(); defer mu.Unlock(); return total }
	arrived := c.eventually(func() bool { return received() >= onceMessages })
	c.settle() // a second delivery would come now
	stop()
	for _, end := range ends {
		c.wait(end, callLimit)
	}
	if !arrived {
		c.errorf("%d of %d messages sent to %q were received", received(), onceMessages, channel)
	}
	for n := range int64(onceMessages) {
		if times := got[n+1]; times > 1 {
			c.errorf("message n:%d sent once to %q was received %d times", n+1, channel, times)
		}
	}
}

func onceAddedTwice(c *checker) {
	reader, writer := c.pair(layer.Limits{})
	ch := reader.mustNewChannel()
	reader.mustGroupAdd("room", ch, ch)
	writer.mustGroupAdd("room", ch)
	reader.mustGroupAdd("other", ch)
	writer.mustGroupSend("room", numbered("w", 1), numbered("w", 2))
	reader.expectOnly(writer, ch, series("w", 1, 2)...)
}

func onceNoRepeat(c *checker) {
	reader, writer := c.pair(layer.Limits{})
	for _, ch := range []string{reader.mustNewChannel(), "jobs"} {
		writer.mustSend(ch, numbered("w", 1))
		reader.expect(ch, numbered("w", 1))
		reader.expectNothing(ch)
		writer.mustSend(ch, series("w", 2, 3)...)
		reader.expect(ch, numbered("w", 2))
		ctx, cancel := context.WithCancel(c.ctx)
		cancel()
		if msg, err := reader.receiveCtx(ctx, ch); err == nil {
			c.fatalf("Receive(%q) with an ended ctx returned %v", ch, msg)
		}
		reader.expectOnly(writer, ch, numbered("w", 3))
	}
}
