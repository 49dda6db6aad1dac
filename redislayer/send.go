package redislayer

import (
	"context"
	"time"

	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/layer/codec"
	"github.com/channellayer/channellayer/layer/mailbox"
)

// Send implements [layer.Layer]. To a channel of this process it needs no
// Redis. Otherwise it returns once Redis has the message in the queue or in
// the inbox of the process that owns the channel; if the mailbox turns out to
// be full there, the message is dropped and counted by that process.
func (l *Layer) Send(ctx context.Context, channel string, msg layer.Message) error {
	if err := l.checkSend(ctx, msg); err != nil {
		return err
	}
	if l.owns(channel) {
		err := l.mailboxes.Put(channel, msg)
		if err == nil {
			l.counters.sent.Add(1)
		}
		return err
	}
	if err := layer.ValidateChannel(channel); err != nil {
		return err
	}
	o := &op{what: opPush, where: channel}
	if layer.IsProcessSpecific(channel) {
		o.what, o.where, o.name = opSend, processOf(channel), channel
	}
	var err error
	if o.body, err = codec.Encode(msg); err != nil {
		return layer.NotSent(err)
	}
	if l.cluster != nil {
		err = l.cluster.send(ctx, o)
	} else {
		err = l.session.do(ctx, o)
	}
	if err != nil {
		return err
	}
	l.counters.sent.Add(1)
	return nil
}

// GroupSend implements [layer.Layer]. Members in this process get the message
// at once; one round trip to Redis, whatever the number of members, brings it
// to those of other processes; on a Cluster it takes two. If that fails after members here got the
// message, the error matches [layer.ErrMaybeSent].
func (l *Layer) GroupSend(ctx context.Context, group string, msg layer.Message) error {
	if err := l.checkSend(ctx, msg); err != nil {
		return err
	}
	if err := layer.ValidateGroup(group); err != nil {
		return err
	}
	body, err := codec.Encode(msg)
	if err != nil {
		return layer.NotSent(err)
	}
	local := l.putGroup(group, msg, 0)
	var maybe bool
	if l.cluster != nil {
		err, maybe = l.cluster.groupSend(ctx, group, body)
	} else {
		err, maybe = l.session.try(ctx, &op{what: opGroup, where: group, body: body})
	}
	switch {
	case err == nil:
		l.counters.groupSent.Add(1)
		return nil
	case maybe || local > 0:
		return layer.MaybeSent(err)
	}
	return layer.NotSent(err)
}

func (l *Layer) checkSend(ctx context.Context, msg layer.Message) error {
	if err := ctx.Err(); err != nil {
		return layer.NotSent(err)
	}
	if l.closed.Load() {
		return layer.NotSent(layer.ErrClosed)
	}
	return l.options.Limits.CheckMessage(msg)
}

// put puts a message that came for a channel of this process into its mailbox.
func (l *Layer) put(channel string, msg layer.Message, age time.Duration) {
	l.taken(channel, l.mailboxes.PutAged(channel, msg, age))
}

// putGroup puts a message into the mailboxes of a group's members here, and
// returns how many took it.
func (l *Layer) putGroup(group string, msg layer.Message, age time.Duration) (taken int) {
	fan := l.mailboxes.Fan(msg, age)
	for channel, ref := range l.groups.MembersWith(group) {
		ref, _ := ref.(mailbox.Ref)
		if l.taken(channel, fan.Put(channel, ref)) {
			taken++
		}
	}
	return taken
}

// taken reports whether a mailbox took a message, and counts it if not.
func (l *Layer) taken(channel string, err error) bool {
	switch err {
	case nil:
		return true
	case layer.ErrChannelFull:
		l.drop(layer.DropFull, channel, 1)
	default: // released, or the layer was closed
		l.drop(layer.DropClosed, channel, 1)
	}
	return false
}
