package channelsredis

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/layer/codec"
)

// Send implements [layer.Layer]. To a channel of this process it needs no
// Redis, but for a round trip while something that this process published may
// still come from there and nobody knows. Otherwise it returns once Redis has
// given the message to the connections of those who receive it: if a mailbox
// turns out to be full there, the message is dropped and counted by that process.
// A message for a normal channel on which nobody receives waits in this process
// until somebody does.
func (l *PubSub) Send(ctx context.Context, channel string, msg layer.Message) error {
	if err := l.checkSend(ctx, msg); err != nil {
		return err
	}
	m := &publish{channel: channel}
	switch {
	case l.process.Owns(channel):
		if err := l.checkFormat(msg); err != nil {
			return err
		}
		if err := l.settle(ctx, nil); err != nil {
			return layer.NotSent(l.closedOr(err))
		}
		err := l.process.Mailboxes().Put(channel, msg)
		if err == nil {
			l.process.CountSend(channel)
		}
		return err
	case !layer.IsProcessSpecific(channel):
		if err := l.validateChannel(channel); err != nil {
			return err
		}
		here, held := l.normals.state(channel)
		switch {
		case held:
			if err := l.checkFormat(msg); err != nil {
				return err
			}
			return l.hold(channel, msg)
		case here && l.process.Mailboxes().Len(channel) >= l.process.Limits().CapacityFor(channel):
			return layer.ErrChannelFull
		}
		m.echo = here
	default:
		if err := l.validateChannel(channel); err != nil {
			return err
		}
	}
	var err error
	if m.body, err = l.encode(msg); err != nil {
		return layer.NotSent(err)
	}
	if err := l.publish(ctx, m); err != nil {
		return err
	}
	if m.receivers == 0 {
		if layer.IsProcessSpecific(channel) || isPythonSpecific(channel) {
			return layer.ErrChannelGone
		}
		return l.hold(channel, msg)
	}
	l.process.CountSend(channel)
	return nil
}

// validateChannel is [layer.ValidateChannel], which also takes the names that
// Python's NewChannel makes: they begin with the layer's prefix, whatever that
// holds. A name that begins as those of groups do on the wire is none: what is
// sent there would go to the group.
func (l *PubSub) validateChannel(channel string) error {
	if group, is := l.groupOf(channel); is {
		return &layer.Error{Op: "channel name", Name: channel, Err: fmt.Errorf("%w: on the wire that is the group %q", layer.ErrInvalidName, group)}
	}
	if rest, ok := strings.CutPrefix(channel, l.options.Prefix); ok && isPythonSpecific(rest) {
		return layer.ValidateChannel(rest)
	}
	return layer.ValidateChannel(channel)
}

// GroupSend implements [layer.Layer]. It is one PUBLISH, whatever the number of
// members and processes. When it returns, members in this process have the
// message.
func (l *PubSub) GroupSend(ctx context.Context, group string, msg layer.Message) error {
	if err := l.checkSend(ctx, msg); err != nil {
		return err
	}
	if err := layer.ValidateGroup(group); err != nil {
		return err
	}
	body, err := l.encode(msg)
	if err != nil {
		return layer.NotSent(err)
	}
	if err := l.publish(ctx, &publish{channel: l.groupTopic(group), body: body, echo: l.process.Groups().Len(group) > 0}); err != nil {
		return err
	}
	l.process.CountGroupSend(group)
	return nil
}

// publish publishes a message on the host that it belongs to. The error tells the
// outcome, and that the layer was closed where that is why.
func (l *PubSub) publish(ctx context.Context, m *publish) error {
	h := l.host(m.channel)
	var err error
	if m.echo && l.unsettled(h) {
		err = within(ctx, l.options.Timeout, func(ctx context.Context) error {
			if err := l.settle(ctx, h); err != nil {
				return layer.NotSent(err)
			}
			return h.pub.send(ctx, m)
		})
	} else {
		err = h.pub.send(ctx, m)
	}
	if l.closedOr(nil) == nil || !errors.Is(err, layer.ErrUnavailable) {
		return err
	}
	if isNotSent(err) {
		return layer.NotSent(layer.ErrClosed)
	}
	return layer.MaybeSent(layer.ErrClosed)
}

// encode makes what is published of a message.
func (l *PubSub) encode(msg layer.Message) ([]byte, error) {
	body, err := l.serialize(msg)
	if err != nil || l.fernet == nil {
		return body, err
	}
	return l.fernet.seal(nil, body), nil
}

func (l *PubSub) serialize(msg layer.Message) ([]byte, error) {
	if _, ok := l.options.SerializerFormat.(MsgPack); ok {
		return codec.Encode(msg) // once, however often it is sent
	}
	return l.options.SerializerFormat.Append(nil, msg, nil)
}

// decode makes a message of what came for a channel or group. What cannot be
// read, or is too large, is counted.
func (l *PubSub) decode(name string, body []byte, oversize int) (msg layer.Message, ok bool) {
	if oversize > 0 {
		l.process.Drop(layer.DropOversized, name, 1)
		return msg, false
	}
	var err error
	if l.fernet != nil {
		body, err = l.fernet.open(body, 0)
	}
	if err == nil {
		var address []string
		if msg, address, err = l.deserialize(body); err == nil && address != nil {
			err = undecodable("it has the key %s, which only Core's messages have", layer.ReservedKey)
		}
	}
	switch {
	case err != nil:
		l.undecodable(name, err)
		return msg, false
	case msg.Size() > l.options.MaxMessageSize:
		l.process.Drop(layer.DropOversized, name, 1)
		return msg, false
	}
	return msg, true
}

// mostWire is how many bytes on the wire a message may take at most: more than
// one of MaxMessageSize does in the formats that are here. The worst is a list of
// false in JSON, encrypted: 7 bytes for one, and 4 bytes for 3 of these.
func (l *PubSub) mostWire() int { return 10*l.options.MaxMessageSize + 4096 }

func isNotSent(err error) bool { return errors.Is(err, layer.ErrNotSent) }
