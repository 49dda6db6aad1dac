package layertest

import (
	"fmt"

	"github.com/channellayer/channellayer/layer"
)

func rule07() []check {
	return []check{
		{Rule: 7, Name: "Rule07Groups/add_send_discard", Both: true, Run: addSendDiscard,
			Doc: "A group message reaches the members, in the group and no other, from GroupAdd until GroupDiscard."},
		{Rule: 7, Name: "Rule07Groups/add_twice_discard_once", Both: true, Run: addTwiceDiscardOnce,
			Doc: "One GroupDiscard ends a membership, however often the channel was added."},
		{Rule: 7, Name: "Rule07Groups/discard_non_member", Both: true, Run: discardNonMember,
			Doc: "Discarding a channel that is no member, or from a group that does not exist, does nothing."},
		{Rule: 7, Name: "Rule07Groups/add_again_after_discard", Both: true, Run: addAgain,
			Doc: "Memberships can be ended and begun again any number of times."},
		{Rule: 7, Name: "Rule07Groups/expires", Both: true, Run: membershipExpires,
			Doc: "A membership ends GroupExpiry after GroupAdd, and not before."},
		{Rule: 7, Name: "Rule07Groups/renewed", Both: true, Run: membershipRenewed,
			Doc: "Adding a member again lets its membership last GroupExpiry from then, and no longer."},
		{Rule: 7, Name: "Rule07Groups/normal_channel_member", Both: true, Run: normalMember,
			Doc: "A normal channel can be a member; one of its readers gets each message."},
		{Rule: 7, Name: "Rule07Groups/channel_in_many_groups", Both: true, Run: manyGroups,
			Doc: "A channel in many groups gets the messages of each, and leaves each by itself."},
		{Rule: 7, Name: "Rule07Groups/many_members", Both: true, Run: manyMembers,
			Doc: "Each of many members gets a group message once."},
		{Rule: 7, Name: "Rule07Groups/members_come_and_go", Both: true, Run: comeAndGo,
			Doc: "After any order of adding and discarding, a group message reaches exactly the members of that moment."},
		{Rule: 7, Name: "Rule07Groups/empty_group", Run: emptyGroup,
			Doc: "Sending to a group without members, or one that lost its last, succeeds."},
		{Rule: 7, Name: "Rule07Groups/released_member", Both: true, Run: releasedMember,
			Doc: "A released channel is in no group any more, and the other members get what is sent."},
		{Rule: 7, Name: "Rule07Groups/names_apart_from_channels", Both: true, Run: groupsApart,
			Doc: "A group and a normal channel of the same name have nothing to do with each other."},
		{Rule: 7, Name: "Rule07Groups/unknown_member", Run: unknownMember,
			Doc: "A member whose process does not exist keeps nothing from the others."},
		{Rule: 7, Name: "Rule07Groups/members_in_two_processes", Peer: true, Run: twoProcesses,
			Doc: "A group message from any process reaches the members in all of them, once."},
		{Rule: 7, Name: "Rule07Groups/added_by_peer", Peer: true, Run: addedByPeer,
			Doc: "A process can add and discard the channels of another, and its own membership changes count equally."},
		{Rule: 7, Name: "Rule07Groups/outlives_adder", Peer: true, Run: outlivesAdder,
			Doc: "A channel added by a process that has closed stays a member."},
	}
}

func addSendDiscard(c *checker) {
	reader, writer := c.pair(layer.Limits{})
	in := reader.mustNewChannels(3)
	out := reader.mustNewChannel()
	reader.mustGroupAdd("room", in...)
	reader.mustGroupAdd("other", out)
	writer.mustGroupSend("room", numbered("g", 1))
	for _, ch := range in {
		reader.expectOnly(writer, ch, numbered("g", 1))
	}
	reader.expectEmpty(writer, out)
	reader.mustGroupDiscard("room", in[1])
	writer.mustGroupSend("room", numbered("g", 2))
	reader.expectOnly(writer, in[0], numbered("g", 2))
	reader.expectOnly(writer, in[2], numbered("g", 2))
	reader.expectEmpty(writer, in[1])
}

func addTwiceDiscardOnce(c *checker) {
	reader, writer := c.pair(layer.Limits{})
	ch := reader.mustNewChannel()
	reader.mustGroupAdd("room", ch, ch, ch)
	reader.mustGroupDiscard("room", ch)
	writer.mustGroupSend("room", text("x"))
	reader.expectEmpty(writer, ch)
}

func discardNonMember(c *checker) {
	reader, writer := c.pair(layer.Limits{})
	channels := reader.mustNewChannels(2)
	reader.mustGroupAdd("room", channels[0])
	reader.mustGroupDiscard("room", channels[1], "jobs")
	writer.mustGroupDiscard("nobody", channels[0])
	reader.mustGroupDiscard("nobody", channels[0])
	writer.mustGroupSend("room", text("x"))
	reader.expectOnly(writer, channels[0], text("x"))
	reader.expectEmpty(writer, channels[1])
}

func addAgain(c *checker) {
	reader, writer := c.pair(layer.Limits{})
	ch := reader.mustNewChannel()
	for n := range 20 {
		reader.mustGroupAdd("room", ch)
		writer.mustGroupSend("room", numbered("in", n))
		reader.expect(ch, numbered("in", n))
		reader.mustGroupDiscard("room", ch)
		writer.mustGroupSend("room", numbered("out", n))
		reader.expectEmpty(writer, ch)
	}
}

// groupExpiryUnits is the GroupExpiry of the checks of it, in units of time.
const groupExpiryUnits = 8

func (c *checker) shortGroupExpiry() layer.Limits {
	return layer.Limits{GroupExpiry: groupExpiryUnits * c.unit}
}

func membershipExpires(c *checker) {
	reader, writer := c.pair(c.shortGroupExpiry())
	ch := reader.mustNewChannel()
	reader.mustGroupAdd("room", ch, "jobs")
	c.sleep(groupExpiryUnits - 3)
	writer.mustGroupSend("room", numbered("g", 1))
	reader.expect(ch, numbered("g", 1))
	reader.expect("jobs", numbered("g", 1))
	c.sleep(4)
	writer.mustGroupSend("room", numbered("g", 2))
	reader.expectEmpty(writer, ch)
	reader.expectEmpty(writer, "jobs")
	writer.mustSend(ch, text("still a channel"))
	reader.expect(ch, text("still a channel"))
	reader.mustGroupAdd("room", ch)
	writer.mustGroupSend("room", numbered("g", 3))
	reader.expect(ch, numbered("g", 3))
}

func membershipRenewed(c *checker) {
	reader, writer := c.pair(c.shortGroupExpiry())
	channels := reader.mustNewChannels(2)
	reader.mustGroupAdd("room", channels...)
	c.sleep(groupExpiryUnits / 2)
	reader.mustGroupAdd("room", channels[0])
	c.sleep(groupExpiryUnits/2 + 1)
	writer.mustGroupSend("room", numbered("g", 1))
	reader.expectOnly(writer, channels[0], numbered("g", 1))
	reader.expectEmpty(writer, channels[1])
	c.sleep(groupExpiryUnits / 2)
	writer.mustGroupSend("room", numbered("g", 2))
	reader.expectEmpty(writer, channels[0])
}

func normalMember(c *checker) {
	reader, writer := c.pair(layer.Limits{})
	ch := reader.mustNewChannel()
	reader.mustGroupAdd("room", "jobs", ch)
	r1, r2 := reader.startReceive(c.ctx, "jobs"), reader.startReceive(c.ctx, "jobs")
	c.settle()
	writer.mustGroupSend("room", numbered("g", 1), numbered("g", 2))
	m1, err1 := r1.result()
	m2, err2 := r2.result()
	if err1 != nil || err2 != nil || m1.Int("n")+m2.Int("n") != 3 {
		c.errorf("two receivers on %q got %v (error %v) and %v (error %v), want messages n:1 and n:2", "jobs", m1, err1, m2, err2)
	}
	reader.expect(ch, series("g", 1, 2)...)
	reader.mustGroupDiscard("room", "jobs")
	writer.mustGroupSend("room", numbered("g", 3))
	reader.expect(ch, numbered("g", 3))
	reader.expectEmpty(writer, "jobs")
}

func manyGroups(c *checker) {
	const groups = 90 // fewer than the default capacity
	reader, writer := c.pair(layer.Limits{})
	ch := reader.mustNewChannel()
	for n := range groups {
		reader.mustGroupAdd(fmt.Sprint("room", n), ch)
	}
	send := func(want func(n int) bool) {
		var expected []layer.Message
		for n := range groups {
			writer.mustGroupSend(fmt.Sprint("room", n), numbered("g", n))
			if want(n) {
				expected = append(expected, numbered("g", n))
			}
		}
		reader.expectOnly(writer, ch, expected...)
	}
	send(func(int) bool { return true })
	for n := range groups / 2 {
		reader.mustGroupDiscard(fmt.Sprint("room", 2*n), ch)
	}
	send(func(n int) bool { return n%2 == 1 })
}

func manyMembers(c *checker) {
	reader, writer := c.pair(layer.Limits{})
	channels := reader.mustNewChannels(500)
	reader.mustGroupAdd("room", channels...)
	writer.mustGroupSend("room", numbered("g", 1), numbered("g", 2))
	for _, ch := range channels {
		reader.expectOnly(writer, ch, series("g", 1, 2)...)
	}
}

func comeAndGo(c *checker) {
	reader, writer := c.pair(layer.Limits{})
	rng := c.random()
	channels := append(reader.mustNewChannels(6), "jobs")
	member := make([]bool, len(channels))
	for n := range 60 {
		for range 1 + rng.IntN(4) {
			i := rng.IntN(len(channels))
			if member[i] = rng.IntN(2) == 0; member[i] {
				reader.mustGroupAdd("room", channels[i])
			} else {
				reader.mustGroupDiscard("room", channels[i])
			}
		}
		writer.mustGroupSend("room", numbered("g", n))
		for i, ch := range channels {
			if member[i] {
				reader.expectOnly(writer, ch, numbered("g", n))
			} else {
				reader.expectEmpty(writer, ch)
			}
		}
	}
}

func emptyGroup(c *checker) {
	p := c.start(layer.Limits{})
	p.mustGroupSend("nobody", text("x"))
	ch := p.mustNewChannel()
	p.mustGroupAdd("room", ch)
	p.mustGroupDiscard("room", ch)
	p.mustGroupSend("room", text("x"))
	p.expectEmpty(p, ch)
}

func releasedMember(c *checker) {
	reader, writer := c.pair(layer.Limits{})
	channels := reader.mustNewChannels(3)
	reader.mustGroupAdd("room", channels...)
	reader.mustRelease(channels[1])
	writer.mustGroupSend("room", text("x"))
	reader.expectOnly(writer, channels[0], text("x"))
	reader.expectOnly(writer, channels[2], text("x"))
	if problem := wantError(reader.groupAdd(c.ctx, "room", channels[1]), layer.ErrChannelGone); problem != "" {
		c.errorf("GroupAdd of the released channel %q: %s", channels[1], problem)
	}
	writer.mustGroupSend("room", text("y"))
	reader.expectOnly(writer, channels[0], text("y"))
}

func groupsApart(c *checker) {
	reader, writer := c.pair(layer.Limits{})
	ch := reader.mustNewChannel()
	reader.mustGroupAdd("same", ch)
	writer.mustSend("same", text("to the channel"))
	writer.mustGroupSend("same", text("to the group"))
	reader.expectOnly(writer, "same", text("to the channel"))
	reader.expectOnly(writer, ch, text("to the group"))
}

func unknownMember(c *checker) {
	p := c.start(layer.Limits{})
	ch := p.mustNewChannel()
	p.mustGroupAdd("room", ch)
	_ = p.groupAdd(c.ctx, "room", "elsewhere.nobody!1") // the layer may know that it does not exist
	p.mustGroupSend("room", text("a"))
	p.mustGroupSend("room", text("b"))
	p.expectOnly(p, ch, text("a"), text("b"))
	if err := p.groupDiscard(c.ctx, "room", "elsewhere.nobody!1"); err != nil {
		c.errorf("GroupDiscard of a channel of an unknown process returned error %v, want nil", err)
	}
}

func twoProcesses(c *checker) {
	first := c.start(layer.Limits{})
	second := c.startPeer(first, layer.Limits{})
	procs := []*proc{first, second}
	channels := make([][]string, len(procs))
	for i, p := range procs {
		channels[i] = p.mustNewChannels(3)
		p.mustGroupAdd("room", channels[i]...)
	}
	for n, writer := range procs {
		writer.mustGroupSend("room", numbered("g", n))
		for i, p := range procs {
			for _, ch := range channels[i] {
				p.expectOnly(writer, ch, numbered("g", n))
			}
		}
	}
	second.mustGroupDiscard("room", channels[1]...)
	first.mustGroupSend("room", numbered("g", 2))
	first.expectOnly(first, channels[0][0], numbered("g", 2))
	second.expectEmpty(first, channels[1][0])
}

func addedByPeer(c *checker) {
	first := c.start(layer.Limits{})
	second := c.startPeer(first, layer.Limits{})
	ch := first.mustNewChannel()
	second.mustGroupAdd("room", ch, "jobs")
	for n, writer := range []*proc{first, second} {
		writer.mustGroupSend("room", numbered("g", n))
		first.expectOnly(writer, ch, numbered("g", n))
		first.expectOnly(writer, "jobs", numbered("g", n))
	}
	second.mustGroupDiscard("room", "jobs")
	steps := []struct {
		who  *proc
		name string
		add  bool
	}{
		{second, "its peer discarded it", false}, {first, "its owner added it", true}, {second, "its peer discarded it", false},
		{second, "its peer added it", true}, {first, "its owner discarded it", false}, {second, "its peer added it again", true},
	}
	for n, s := range steps {
		if s.add {
			s.who.mustGroupAdd("room", ch)
		} else {
			s.who.mustGroupDiscard("room", ch)
		}
		for _, writer := range []*proc{first, second} {
			msg := layer.NewMessage(map[string]any{"n": n, "after": s.name, "from_owner": writer == first})
			writer.mustGroupSend("room", msg)
			if s.add {
				first.expectOnly(writer, ch, msg)
			} else {
				first.expectEmpty(writer, ch)
			}
		}
	}
}

func outlivesAdder(c *checker) {
	first := c.start(layer.Limits{})
	second := c.startPeer(first, layer.Limits{})
	third := c.startPeer(first, layer.Limits{})
	ch := first.mustNewChannel()
	second.mustGroupAdd("room", ch)
	if err := second.close(); err != nil {
		c.fatalf("Close returned error %v", err)
	}
	for n, writer := range []*proc{third, first} {
		writer.mustGroupSend("room", numbered("g", n))
		first.expectOnly(writer, ch, numbered("g", n))
	}
}
