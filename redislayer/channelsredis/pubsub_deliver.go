package channelsredis

import (
	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/layer/mailbox"
)

// delivery hands what a subscriber reads to the mailboxes. Messages for the same
// group or channel that were read one right after the other go there together:
// each mailbox is locked, and who waits there is woken, once for all of them
// (with groups of 100 and 1,000 that saved a fifth of the receiving process's CPU
// time). No message waits for another to come: the subscriber calls deliver before
// it waits for more, and before it heeds anything but messages.
type delivery struct {
	l        *PubSub
	most     int    // messages that go together
	topic    string // the Redis channel they came on
	own      bool   // it is that of one of this process's channels
	name     string // of the group or channel
	isGroup  bool
	messages []layer.Message
}

// maxTogether is how many messages go together at most: enough that waking
// costs little of each.
const maxTogether = 16

// newDelivery returns a delivery. A receiver that reads as fast as messages come
// must not find its mailbox full because they came together: no more do than
// take a quarter of the smallest.
func newDelivery(l *PubSub) *delivery {
	capacity := l.options.Capacity
	for _, rule := range l.options.ChannelCapacity {
		capacity = min(capacity, rule.Capacity)
	}
	return &delivery{l: l, most: min(maxTogether, max(1, capacity/4))}
}

// add takes what came on a Redis channel, which is own if it is that of one of
// this process's channels.
func (d *delivery) add(topic []byte, own bool, body []byte, oversize int) {
	if string(topic) != d.topic || own != d.own {
		d.deliver()
		d.topic, d.own = string(topic), own
		d.name, d.isGroup = d.topic, false
		if group, is := d.l.groupOf(d.topic); is && !own {
			d.name, d.isGroup = group, true
		}
	}
	msg, ok := d.l.decode(d.name, body, oversize)
	if !ok {
		return
	}
	if d.messages = append(d.messages, msg); len(d.messages) == d.most {
		d.deliver()
	}
}

// deliver hands over what was added.
func (d *delivery) deliver() {
	if len(d.messages) == 0 {
		return
	}
	fan := d.l.process.Mailboxes().FanAll(d.messages, 0)
	if d.isGroup {
		for channel, ref := range d.l.process.Groups().MembersWith(d.name) {
			ref, _ := ref.(mailbox.Ref)
			d.put(&fan, channel, ref)
		}
	} else {
		d.put(&fan, d.name, mailbox.Ref{})
	}
	clear(d.messages)
	d.messages = d.messages[:0]
}

func (d *delivery) put(fan *mailbox.Fan, channel string, ref mailbox.Ref) {
	taken, err := fan.PutAll(channel, ref)
	d.l.process.Refused(channel, err, len(d.messages)-taken)
}
