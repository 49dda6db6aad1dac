package layertest

import (
	"strings"
	"sync"

	"github.com/channellayer/channellayer/layer"
)

func rule04() []check {
	return []check{
		{Rule: 4, Name: "Rule04Names/invalid_channel", Run: invalidChannels,
			Doc: "Every method refuses an invalid channel name with ErrInvalidName, and the layer works on."},
		{Rule: 4, Name: "Rule04Names/invalid_group", Run: invalidGroups,
			Doc: "Every method refuses an invalid group name with ErrInvalidName, and the layer works on."},
		{Rule: 4, Name: "Rule04Names/invalid_prefix", Run: invalidPrefixes,
			Doc: "NewChannel refuses an invalid prefix with ErrInvalidName."},
		{Rule: 4, Name: "Rule04Names/valid_names", Both: true, Run: validNames,
			Doc: "Names of the largest length and of every allowed byte work, for normal channels and for groups."},
		{Rule: 4, Name: "Rule04Names/names_are_exact", Both: true, Run: exactNames,
			Doc: "Names that differ in case, or by one byte, are different channels and groups."},
		{Rule: 4, Name: "Rule04Names/new_channel", Run: newChannelNames,
			Doc: "NewChannel makes valid process-specific names that begin with the prefix."},
		{Rule: 4, Name: "Rule04Names/new_channel_unique", Run: uniqueNames,
			Doc: "10,000 channels made by several goroutines have different names."},
		{Rule: 4, Name: "Rule04Names/new_channel_unique_between_processes", Peer: true, Run: uniqueNamesPeers,
			Doc: "Channels of two processes have different names."},
	}
}

// badPlain are names that neither a channel nor a group nor a prefix may have,
// but for the empty one, which a prefix may.
var badPlain = []string{
	" ", "a b", " a", "a ", "a\n", "\na", "a\x00", "\x00", "a/b", "a:b", "a*", "a?b", "a[b]", "{a}", "a\\b", "a,b", "a@b", "a+b", "a%20b", "a\"b",
	"ä", "群", "aé", "\xff", "a\x80", "١", "a\u200b",
}

const allowedBytes = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_."

func badChannels() []string {
	return append([]string{"", strings.Repeat("a", 101), strings.Repeat("a", 100_000), "a!" + strings.Repeat("b", 99),
		"!", "!a", "a!", "a!b!c", "a!!b", "a!b c", "a b!c", "a!ä", "a!b\n", "a!b!"}, badPlain...)
}

func badGroups() []string {
	return append([]string{"", strings.Repeat("a", 101), strings.Repeat("a", 100_000), "!", "a!b", "a!"}, badPlain...)
}

func invalidChannels(c *checker) {
	p := c.start(layer.Limits{})
	ch := p.mustNewChannel()
	p.mustGroupAdd("room", ch)
	for _, name := range badChannels() {
		err := p.send(name, text("x"))
		if problem := wantError(err, layer.ErrInvalidName, layer.ErrNotSent); problem != "" {
			c.errorf("Send to %.120q: %s", name, problem)
		}
		_, err = p.receive(name, c.unit)
		c.wantInvalidName("Receive", name, err)
		_, err = p.batch(c.ctx, name, make([]layer.Message, 2))
		c.wantInvalidName("ReceiveBatch", name, err)
		c.wantInvalidName("GroupAdd", name, p.groupAdd(c.ctx, "room", name))
		c.wantInvalidName("GroupDiscard", name, p.groupDiscard(c.ctx, "room", name))
	}
	p.mustGroupSend("room", text("after"))
	p.expectOnly(p, ch, text("after"))
}

func (c *checker) wantInvalidName(op, name string, err error) {
	if problem := wantError(err, layer.ErrInvalidName); problem != "" {
		c.errorf("%s with name %.120q: %s", op, name, problem)
	}
}

func invalidGroups(c *checker) {
	p := c.start(layer.Limits{})
	ch := p.mustNewChannel()
	for _, name := range badGroups() {
		err := p.groupSend(name, text("x"))
		if problem := wantError(err, layer.ErrInvalidName, layer.ErrNotSent); problem != "" {
			c.errorf("GroupSend to %.120q: %s", name, problem)
		}
		c.wantInvalidName("GroupAdd", name, p.groupAdd(c.ctx, name, ch))
		c.wantInvalidName("GroupDiscard", name, p.groupDiscard(c.ctx, name, ch))
	}
	p.mustGroupAdd("room", ch)
	p.mustGroupSend("room", text("after"))
	p.expectOnly(p, ch, text("after"))
}

func invalidPrefixes(c *checker) {
	p := c.start(layer.Limits{})
	for _, prefix := range append([]string{strings.Repeat("a", layer.MaxPrefixLength+1), strings.Repeat("a", 1000), "!", "a!", "a!b"}, badPlain...) {
		name, err := p.newChannel(c.ctx, prefix)
		if problem := wantError(err, layer.ErrInvalidName); problem != "" {
			c.errorf("NewChannel(%.120q) returned %q: %s", prefix, name, problem)
		}
		if err != nil && name != "" {
			c.errorf("NewChannel(%.120q) returned name %q beside error %v", prefix, name, err)
		}
	}
	ch := p.mustNewChannel()
	p.mustSend(ch, text("after"))
	p.expect(ch, text("after"))
}

func validNames(c *checker) {
	reader, writer := c.pair(layer.Limits{})
	names := []string{strings.Repeat("a", 100), allowedBytes, "-", "_", ".", "..", "-.-", "0", "Z", "h.x", "a.b_c-D9"}
	for i := range allowedBytes {
		names = append(names, allowedBytes[i:i+1])
	}
	for i, name := range names {
		writer.mustSend(name, numbered("channel", i))
		reader.expectOnly(writer, name, numbered("channel", i))
	}
	ch := reader.mustNewChannel()
	for i, name := range names {
		reader.mustGroupAdd(name, ch)
		writer.mustGroupSend(name, numbered("group", i))
		reader.expectOnly(writer, ch, numbered("group", i))
		reader.mustGroupDiscard(name, ch)
		writer.mustGroupSend(name, numbered("discarded", i))
		reader.expectEmpty(writer, ch)
	}
}

func exactNames(c *checker) {
	reader, writer := c.pair(layer.Limits{})
	names := []string{"room", "Room", "ROOM", "room.", "room1", "roo", "room-1", "room_1", ".room"}
	for i, name := range names {
		writer.mustSend(name, numbered("channel", i))
	}
	for i, name := range names {
		reader.expectOnly(writer, name, numbered("channel", i))
	}
	channels := reader.mustNewChannels(len(names))
	for i, name := range names {
		reader.mustGroupAdd(name, channels[i])
	}
	for i, name := range names {
		writer.mustGroupSend(name, numbered("group", i))
	}
	for i, ch := range channels {
		reader.expectOnly(writer, ch, numbered("group", i))
	}
}

func newChannelNames(c *checker) {
	p := c.start(layer.Limits{})
	clients := map[string]string{}
	for _, prefix := range []string{"", "chat", "-", ".", "A", strings.Repeat("p", layer.MaxPrefixLength), allowedBytes[:32], allowedBytes[32:64]} {
		want := prefix
		if want == "" {
			want = layer.DefaultPrefix
		}
		for range 3 {
			name, err := p.newChannel(c.ctx, prefix)
			switch {
			case err != nil:
				c.fatalf("NewChannel(%q) returned error %v", prefix, err)
			case layer.ValidateChannel(name) != nil:
				c.fatalf("NewChannel(%q) returned %q: %v", prefix, name, layer.ValidateChannel(name))
			case !layer.IsProcessSpecific(name):
				c.fatalf("NewChannel(%q) returned %q, want a name with a '!'", prefix, name)
			case !strings.HasPrefix(name, want):
				c.fatalf("NewChannel(%q) returned %q, want it to begin with %q", prefix, name, want)
			case clients[prefix] != "" && clients[prefix] != layer.ClientPrefix(name):
				c.fatalf("NewChannel(%q) returned %q, want the client prefix %q that it had before", prefix, name, clients[prefix])
			}
			clients[prefix] = layer.ClientPrefix(name)
			p.mustSend(name, text(name))
			p.expectOnly(p, name, text(name))
		}
	}
}

func uniqueNames(c *checker) {
	p := c.start(layer.Limits{})
	manyNames(c, map[string]bool{}, 10_000, p)
}

func uniqueNamesPeers(c *checker) {
	first := c.start(layer.Limits{})
	manyNames(c, map[string]bool{}, 4000, first, c.startPeer(first, layer.Limits{}))
}

// manyNames makes channels in four goroutines of each process.
func manyNames(c *checker, seen map[string]bool, count int, procs ...*proc) {
	const goroutines = 4
	var mu sync.Mutex
	var ends []chan struct{}
	for _, p := range procs {
		for range goroutines {
			ends = append(ends, c.goroutine("NewChannel in a loop", func() {
				for range count / goroutines / len(procs) {
					name, err := p.layer.NewChannel(c.ctx, "")
					if err != nil {
						c.fatalf("NewChannel returned error %v", err)
					}
					mu.Lock()
					twice := seen[name]
					seen[name] = true
					mu.Unlock()
					if twice {
						c.fatalf("NewChannel returned %q twice", name)
					}
				}
			}))
		}
	}
	for _, end := range ends {
		c.wait(end, arriveLimit)
	}
}
