package layertest

import "github.com/channellayer/channellayer/layer"

func rule06() []check {
	return []check{
		{Rule: 6, Name: "Rule06Expiry/not_delivered_after", Both: true, Run: notAfterExpiry,
			Doc: "A message unread for Expiry is not delivered, whether sent to a channel or to a group, and is counted as expired."},
		{Rule: 6, Name: "Rule06Expiry/delivered_before", Both: true, Run: deliveredBefore,
			Doc: "A message younger than Expiry is delivered."},
		{Rule: 6, Name: "Rule06Expiry/each_at_its_own_time", Both: true, Run: eachItsOwnTime,
			Doc: "When a message expires, those sent after it stay, in order."},
		{Rule: 6, Name: "Rule06Expiry/own_channel_with_reader", Both: true, Run: expiryOwnChannel,
			Doc: "On a process-specific channel that is read too slowly, messages expire, and the channel goes on."},
		{Rule: 6, Name: "Rule06Expiry/counted_untouched", Run: countedUntouched,
			Doc: "Expired messages are counted and reported though nobody touches the channel again."},
		{Rule: 6, Name: "Rule06Expiry/waiting_receiver", Both: true, Run: waitingReceiver,
			Doc: "A receiver that waits for longer than Expiry gets the next message, and its channel is not abandoned."},
		{Rule: 6, Name: "Rule06Expiry/idle_channel_stays", Both: true, Run: idleStays,
			Doc: "A channel without unread messages is not abandoned, however long nobody calls Receive, and stays in its groups."},
		{Rule: 6, Name: "Rule06Expiry/abandoned", Both: true, Run: abandoned,
			Doc: "A channel on which a message expires after nobody called Receive for Expiry is reported abandoned once, and is gone from then on."},
		{Rule: 6, Name: "Rule06Expiry/owner_comes_back", Run: ownerComesBack,
			Doc: "The owner of an abandoned channel learns it by ErrChannelGone at its first call, though nothing else touched the channel."},
		{Rule: 6, Name: "Rule06Expiry/normal_channel_not_abandoned", Both: true, Run: normalNotAbandoned,
			Doc: "A normal channel is never abandoned: when its messages expired, it takes new ones."},
	}
}

// expiryUnits is the Expiry of these checks, in units of time.
const expiryUnits = 6

func (c *checker) shortExpiry() layer.Limits { return layer.Limits{Expiry: expiryUnits * c.unit} }

func notAfterExpiry(c *checker) {
	reader, writer := c.pair(c.shortExpiry())
	reader.mustGroupAdd("room", "jobs")
	writer.mustSend("jobs", text("old"))
	writer.mustGroupSend("room", text("old too"))
	c.sleep(expiryUnits + 1)
	reader.expectOnly(writer, "jobs")
	dropped := func() int {
		n := reader.seen.droppedOn(layer.DropExpired, "jobs")
		if writer != reader {
			n += writer.seen.droppedOn(layer.DropExpired, "jobs")
		}
		return n
	}
	if !c.eventually(func() bool { return dropped() == 2 }) {
		c.errorf("2 messages expired on %q, and the observer was told of %d dropped there as %v", "jobs", dropped(), layer.DropExpired)
	}
}

func deliveredBefore(c *checker) {
	reader, writer := c.pair(c.shortExpiry())
	ch := reader.mustNewChannel()
	reader.mustGroupAdd("room", ch, "jobs")
	writer.mustSend(ch, text("a"))
	writer.mustSend("jobs", text("a"))
	writer.mustGroupSend("room", text("b"))
	c.sleep(expiryUnits - 2)
	reader.expect(ch, text("a"), text("b"))
	reader.expect("jobs", text("a"), text("b"))
}

func eachItsOwnTime(c *checker) {
	reader, writer := c.pair(c.shortExpiry())
	writer.mustSend("jobs", series("w", 1, 3)...)
	c.sleep(expiryUnits - 2)
	writer.mustSend("jobs", series("w", 4, 6)...)
	c.sleep(4)
	reader.expectOnly(writer, "jobs", series("w", 4, 6)...)
}

func expiryOwnChannel(c *checker) {
	reader, writer := c.pair(c.shortExpiry())
	ch := reader.mustNewChannel()
	reader.mustGroupAdd("room", ch)
	writer.mustSend(ch, series("w", 1, 3)...)
	writer.mustGroupSend("room", numbered("w", 4))
	c.sleep(3)
	reader.expect(ch, numbered("w", 1))
	c.sleep(expiryUnits - 2)
	reader.expectOnly(writer, ch) // 2 to 4 have expired; Receive was called meanwhile
	writer.mustGroupSend("room", numbered("w", 5))
	reader.expect(ch, numbered("w", 5))
	if !c.eventually(func() bool { return reader.seen.droppedOn(layer.DropExpired, ch) == 3 }) {
		c.errorf("3 messages expired on %q, and the observer was told of %d dropped there as %v", ch, reader.seen.droppedOn(layer.DropExpired, ch), layer.DropExpired)
	}
	if n := reader.seen.abandonedTimes(ch); n > 0 {
		c.errorf("%q was reported abandoned, though Receive was called on it %d units before the messages expired", ch, expiryUnits-3)
	}
}

func countedUntouched(c *checker) {
	p := c.start(c.shortExpiry())
	ch := p.mustNewChannel()
	p.mustSend(ch, series("w", 1, 2)...)
	c.sleep(expiryUnits + 1)
	if !c.eventually(func() bool { return p.seen.dropped().Total() == 2 }) {
		c.errorf("2 messages expired on %q, and the observer was told of %v dropped, want 2 as %v", ch, p.seen.dropped(), layer.DropExpired)
	}
	if n := p.seen.droppedOn(layer.DropExpired, ch); n == 0 {
		c.errorf("2 messages expired on %q, and the observer was told of none dropped there as %v, but of %v", ch, layer.DropExpired, p.seen.dropped())
	}
	if stats := p.mustStats(); stats.Dropped != p.seen.dropped() {
		c.errorf("Stats counts drops %v, and the observer was told of %v", stats.Dropped, p.seen.dropped())
	}
}

func waitingReceiver(c *checker) {
	reader, writer := c.pair(c.shortExpiry())
	channels := []string{reader.mustNewChannel(), "jobs"}
	for _, ch := range channels {
		r := reader.startReceive(c.ctx, ch)
		c.sleep(2*expiryUnits + 1)
		if r.returned() {
			msg, err := r.result()
			c.fatalf("Receive(%q) returned %v, error %v, though nothing was sent", ch, msg, err)
		}
		writer.mustSend(ch, text("late"))
		if msg, err := r.result(); err != nil || !msg.Equal(text("late")) {
			c.fatalf("Receive(%q), which waited %d units, returned %v, error %v, want %v", ch, 2*expiryUnits+1, msg, err, text("late"))
		}
		reader.expectEmpty(writer, ch)
	}
	for _, ch := range channels {
		if n := reader.seen.abandonedTimes(ch); n > 0 {
			c.errorf("%q was reported abandoned, though a receiver waited on it", ch)
		}
	}
}

func idleStays(c *checker) {
	reader, writer := c.pair(c.shortExpiry())
	ch := reader.mustNewChannel()
	reader.mustGroupAdd("room", ch)
	writer.mustSend(ch, text("a"))
	reader.expect(ch, text("a"))
	c.sleep(3 * expiryUnits)
	writer.mustGroupSend("room", text("b"))
	reader.expectOnly(writer, ch, text("b"))
	if n := reader.seen.abandonedTimes(ch); n > 0 {
		c.errorf("%q was reported abandoned, though no message expired on it", ch)
	}
}

func abandoned(c *checker) {
	reader, writer := c.pair(c.shortExpiry())
	channels := reader.mustNewChannels(2)
	gone, kept := channels[0], channels[1]
	reader.mustGroupAdd("room", gone, kept)
	writer.mustSend(gone, text("a"), text("b"))
	c.sleep(expiryUnits + 1)
	if !c.eventually(func() bool { return reader.seen.abandonedTimes(gone) == 1 }) {
		c.fatalf("a message expired on %q, on which nobody called Receive, and it was reported abandoned %d times, want once", gone, reader.seen.abandonedTimes(gone))
	}
	c.checkGone(reader, gone)
	before := reader.seen.dropped()
	writer.mustGroupSend("room", text("d"))
	reader.expectOnly(writer, kept, text("d"))
	if after := reader.seen.dropped(); after != before {
		c.errorf("a group send after a member was abandoned dropped %v messages, want the membership ended", after.Total()-before.Total())
	}
	c.sleep(expiryUnits + 1)
	if n := reader.seen.abandonedTimes(gone); n != 1 {
		c.errorf("%q was reported abandoned %d times, want once", gone, n)
	}
	if n := reader.seen.abandonedTimes(kept); n != 0 {
		c.errorf("%q was reported abandoned, though it was read", kept)
	}
	if n := reader.mustStats().Abandoned; n != 1 {
		c.errorf("Stats counts %d abandoned channels, want 1", n)
	}
}

// checkGone shows that a channel of p has ended.
func (c *checker) checkGone(p *proc, ch string) {
	err := p.send(ch, text("x"))
	if problem := wantError(err, layer.ErrChannelGone, layer.ErrNotSent); problem != "" {
		c.errorf("Send to %q, which is gone: %s", ch, problem)
	}
	msg, err := p.receive(ch, c.unit)
	if problem := wantError(err, layer.ErrChannelGone); problem != "" {
		c.errorf("Receive on %q, which is gone, returned %v: %s", ch, msg, problem)
	}
	if problem := wantError(p.groupAdd(c.ctx, "gone", ch), layer.ErrChannelGone); problem != "" {
		c.errorf("GroupAdd of %q, which is gone: %s", ch, problem)
	}
	if err := p.groupDiscard(c.ctx, "gone", ch); err != nil {
		c.errorf("GroupDiscard of %q, which is gone, returned error %v, want nil", ch, err)
	}
}

func ownerComesBack(c *checker) {
	calls := map[string]func(p *proc, ch string) error{
		"Receive":  func(p *proc, ch string) error { _, err := p.receive(ch, c.unit); return err },
		"Send":     func(p *proc, ch string) error { return p.send(ch, text("x")) },
		"GroupAdd": func(p *proc, ch string) error { return p.groupAdd(c.ctx, "room", ch) },
		"ReceiveBatch": func(p *proc, ch string) error {
			_, err := p.batch(c.ctx, ch, make([]layer.Message, 3))
			return err
		},
	}
	p := c.start(c.shortExpiry())
	channels := map[string]string{}
	for op := range calls {
		channels[op] = p.mustNewChannel()
		p.mustSend(channels[op], text("a"))
	}
	c.sleep(expiryUnits + 1)
	for op, call := range calls {
		if problem := wantError(call(p, channels[op]), layer.ErrChannelGone); problem != "" {
			c.errorf("%s on %q, abandoned since a message expired on it a unit ago: %s", op, channels[op], problem)
		}
	}
}

func normalNotAbandoned(c *checker) {
	reader, writer := c.pair(c.shortExpiry())
	reader.mustGroupAdd("room", "jobs")
	writer.mustSend("jobs", text("old"))
	c.sleep(2 * expiryUnits)
	writer.mustSend("jobs", text("new"))
	writer.mustGroupSend("room", text("by group"))
	reader.expectOnly(writer, "jobs", text("new"), text("by group"))
	if n := reader.seen.abandonedTimes("jobs"); n > 0 {
		c.errorf("normal channel %q was reported abandoned", "jobs")
	}
}
