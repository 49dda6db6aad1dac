package redislayer

import (
	"context"

	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/layer/codec"
	"github.com/channellayer/channellayer/layer/process"
)

// Send implements [layer.Layer]. To a channel of this process it needs no
// Redis. Otherwise it returns once Redis has the message in the queue or in
// the inbox of the process that owns the channel; if the mailbox turns out to
// be full there, the message is dropped and counted by that process.
func (l *Layer) Send(ctx context.Context, channel string, msg layer.Message) error {
	if err := l.process.CheckSend(ctx, msg); err != nil {
		return err
	}
	if l.process.Owns(channel) {
		err := l.process.Mailboxes().Put(channel, msg)
		if err == nil {
			l.process.CountSend(channel)
		}
		return err
	}
	if err := layer.ValidateChannel(channel); err != nil {
		return err
	}
	o := &op{what: opPush, where: channel}
	if layer.IsProcessSpecific(channel) {
		o.what, o.where, o.name = opSend, process.Of(channel), channel
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
	l.process.CountSend(channel)
	return nil
}

// GroupSend implements [layer.Layer]. Members in this process get the message
// at once; one round trip to Redis, whatever the number of members, brings it
// to those of other processes; on a Cluster it takes two. If that fails after members here got the
// message, the error matches [layer.ErrMaybeSent].
func (l *Layer) GroupSend(ctx context.Context, group string, msg layer.Message) error {
	if err := l.process.CheckSend(ctx, msg); err != nil {
		return err
	}
	if err := layer.ValidateGroup(group); err != nil {
		return err
	}
	body, err := codec.Encode(msg)
	if err != nil {
		return layer.NotSent(err)
	}
	local := l.process.Deliver(group, msg, 0)
	var maybe bool
	if l.cluster != nil {
		err, maybe = l.cluster.groupSend(ctx, group, body)
	} else {
		err, maybe = l.session.try(ctx, &op{what: opGroup, where: group, body: body})
	}
	switch {
	case err == nil:
		l.process.CountGroupSend(group)
		return nil
	case maybe || local > 0:
		return layer.MaybeSent(err)
	}
	return layer.NotSent(err)
}
