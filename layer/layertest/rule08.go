package layertest

import "github.com/channellayer/channellayer/layer"

func rule08() []check {
	return []check{
		{Rule: 8, Name: "Rule08Size/limit_is_exact", Both: true, Run: exactSize,
			Doc: "A message of MaxMessageSize passes; one byte more is ErrMessageTooLarge, from Send and GroupSend, and nothing of it is delivered."},
		{Rule: 8, Name: "Rule08Size/million_bytes", Both: true, Run: millionBytes,
			Doc: "With the default limits, messages of 1,000,000 bytes travel."},
		{Rule: 8, Name: "Rule08Size/default_limit", Run: defaultSize,
			Doc: "Without configuration, messages of 4 MiB pass and larger ones do not."},
	}
}

// sized makes a message of exactly the given size, above 70,000 or below 200.
func sized(c *checker, size int) layer.Message {
	pad := size
	for range 3 {
		msg := layer.NewMessage(map[string]any{"pad": make([]byte, pad)})
		if msg.Size() == size {
			return msg
		}
		pad -= msg.Size() - size
	}
	c.fatalf("no message of bytes has size %d", size)
	return layer.Message{}
}

func exactSize(c *checker) {
	for _, limit := range []int{100, 100_000} {
		reader, writer := c.pair(layer.Limits{MaxMessageSize: limit})
		channels := []string{reader.mustNewChannel(), "jobs"}
		fits, large := sized(c, limit), sized(c, limit+1)
		for _, ch := range channels {
			reader.mustGroupAdd("room", ch)
			checkSizes(c, reader, writer, ch, fits, large)
			reader.mustGroupDiscard("room", ch)
		}
		if problem := wantError(writer.groupSend("nobody", large), layer.ErrMessageTooLarge, layer.ErrNotSent); problem != "" {
			c.errorf("GroupSend of %d bytes to an empty group, where %d are allowed: %s", large.Size(), limit, problem)
		}
	}
}

// checkSizes sends to the channel, and to the group "room", of which it is the
// only member.
func checkSizes(c *checker, reader, writer *proc, ch string, fits, large layer.Message) {
	for op, send := range map[string]func(layer.Message) error{
		"Send":      func(msg layer.Message) error { return writer.send(ch, msg) },
		"GroupSend": func(msg layer.Message) error { return writer.groupSend("room", msg) },
	} {
		if err := send(fits); err != nil {
			c.fatalf("%s of %d bytes returned error %v, want it accepted: it is as large as allowed", op, fits.Size(), err)
		}
		if problem := wantError(send(large), layer.ErrMessageTooLarge, layer.ErrNotSent); problem != "" {
			c.errorf("%s of %d bytes, where %d are allowed: %s", op, large.Size(), fits.Size(), problem)
		}
		if got := reader.mustReceive(ch); !got.Equal(fits) {
			c.errorf("Receive(%q) after %s returned a message of %d bytes, want the one of %d bytes", ch, op, got.Size(), fits.Size())
		}
	}
	reader.expectEmpty(writer, ch)
}

func millionBytes(c *checker) {
	reader, writer := c.pair(layer.Limits{})
	checkLarge(c, reader, writer, 1_000_000)
}

func defaultSize(c *checker) {
	p := c.start(layer.Limits{})
	checkLarge(c, p, p, layer.DefaultMaxMessageSize)
	err := p.send("jobs", sized(c, layer.DefaultMaxMessageSize+1))
	if problem := wantError(err, layer.ErrMessageTooLarge, layer.ErrNotSent); problem != "" {
		c.errorf("Send of %d bytes with the default limits: %s", layer.DefaultMaxMessageSize+1, problem)
	}
}

// checkLarge carries messages of the size to channels and to a group.
func checkLarge(c *checker, reader, writer *proc, size int) {
	msg := sized(c, size)
	ch := reader.mustNewChannel()
	reader.mustGroupAdd("room", ch)
	writer.mustSend(ch, msg)
	writer.mustGroupSend("room", msg)
	writer.mustSend("jobs", msg)
	for _, from := range []string{ch, ch, "jobs"} {
		if got := reader.mustReceive(from); !got.Equal(msg) {
			c.errorf("Receive(%q) returned a message of %d bytes that does not equal the one of %d bytes that was sent", from, got.Size(), msg.Size())
		}
	}
}
