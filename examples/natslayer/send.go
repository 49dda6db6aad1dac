package natslayer

import (
	"context"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/layer/codec"
	"github.com/channellayer/channellayer/layer/mailbox"
)

// Send implements [layer.Layer]. On a channel of this layer the message is in
// the mailbox when Send returns; on a normal channel it waits in this layer
// until a receiver anywhere asks for it. To another process's channel it is
// published, and the outcome is not awaited: room in the mailbox and
// the connection's state decide, and what the layers learn of a loss is
// counted. While NATS is away such a Send fails at once with ErrNotSent.
//
// Where TCP does not take what is written, Send may block for the layer's
// timeout, whatever ctx says: nats.go writes under a lock.
func (l *Layer) Send(ctx context.Context, channel string, msg layer.Message) error {
	if err := l.ready(ctx, layer.ValidateChannel(channel), l.limits.CheckMessage(msg)); err != nil {
		return layer.NotSent(err)
	}
	var err error
	switch {
	case !layer.IsProcessSpecific(channel):
		if err = l.mailboxes.Put(channel, msg); err == nil {
			l.offer(channel)
		}
	case l.owns(channel):
		err = l.mailboxes.Put(channel, msg)
	default:
		err = l.sendAway(ctx, channel, msg)
	}
	if err == nil {
		l.sent.Add(1)
	}
	return err
}

// goneFor is how long the layer believes NATS that a process is not there. A
// process that lost its connection comes back under its name.
const goneFor = time.Second

// sendAway publishes to the channel's process. If nobody subscribes there, the
// server says so (no responders) to the reply subject, some time later.
func (l *Layer) sendAway(ctx context.Context, channel string, msg layer.Message) error {
	process := processOf(channel)
	l.mu.RLock()
	told, gone := l.gone[process]
	l.mu.RUnlock()
	if gone && time.Since(told) < goneFor {
		return layer.ErrChannelGone
	}
	body, err := codec.Encode(msg)
	if err != nil {
		return layer.NotSent(err)
	}
	return layer.NotSent(l.problem(ctx, l.conn.PublishMsg(&nats.Msg{
		Subject: l.toProcess(process, "message", channel),
		Reply:   l.toProcess(l.process, "undelivered", channel),
		Data:    body,
	})))
}

// served is the header of a group message that names the normal channels which
// its sender has served, being one of those through which they are members.
const served = "Served"

// GroupSend implements [layer.Layer]. It is published once, whatever the
// number of members and processes. If that fails, nobody gets it.
func (l *Layer) GroupSend(ctx context.Context, group string, msg layer.Message) error {
	if err := l.ready(ctx, layer.ValidateGroup(group), l.limits.CheckMessage(msg)); err != nil {
		return layer.NotSent(err)
	}
	body, err := codec.Encode(msg)
	if err != nil {
		return layer.NotSent(err)
	}
	m := &nats.Msg{Subject: l.subject("group", group), Data: body}
	normal := l.adoptedIn(group)
	if len(normal) > 0 {
		m.Header = nats.Header{served: normal}
	}
	if err := l.conn.PublishMsg(m); err != nil {
		return layer.NotSent(l.problem(ctx, err))
	}
	l.deliver(group, msg)
	for _, channel := range normal {
		l.put(channel, msg, 0)
	}
	l.groupSent.Add(1)
	return nil
}

// deliver gives a group's message to those members that are this layer's.
func (l *Layer) deliver(group string, msg layer.Message) {
	fan := l.mailboxes.Fan(msg, 0)
	for channel, value := range l.groups.MembersWith(group) {
		ref, _ := value.(mailbox.Ref)
		l.count(channel, fan.Put(channel, ref))
	}
}

// put puts a message that was accepted before into a mailbox.
func (l *Layer) put(channel string, msg layer.Message, age time.Duration) {
	err := l.mailboxes.PutAged(channel, msg, age)
	l.count(channel, err)
	if err == nil && !layer.IsProcessSpecific(channel) {
		l.offer(channel)
	}
}

// count counts a message that a mailbox did not take.
func (l *Layer) count(channel string, err error) {
	switch err {
	case nil:
	case layer.ErrChannelFull:
		l.drop(layer.DropFull, channel, 1)
	default: // the channel ended, or the layer
		l.drop(layer.DropClosed, channel, 1)
	}
}
