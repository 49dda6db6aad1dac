// Package hublayer shows how to write a backend: it is a complete one, in a
// module of its own, made of the public packages. hublayer.go has the methods
// of the contract, for which package process does what stays in the process;
// hub.go what stands where yours has a broker and a network.
package hublayer

import (
	"context"
	"errors"

	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/layer/process"
)

// Layer is one process on a hub. It has no lock: its parts have theirs.
type Layer struct {
	hub *Hub
	own *process.Process // its channels, and their memberships

	closed context.Context // ends with Close
	end    context.CancelFunc
}

// There are more optional interfaces. The suite tests those that a backend has.
var (
	_ layer.Layer    = (*Layer)(nil)
	_ layer.Releaser = (*Layer)(nil)
)

func newLayer(hub *Hub, own *process.Process) *Layer {
	l := &Layer{hub: hub, own: own}
	l.closed, l.end = context.WithCancel(context.Background())
	return l
}

// NewChannel needs nobody's permission: the process's name makes it unique.
func (l *Layer) NewChannel(ctx context.Context, prefix string) (string, error) {
	return l.own.NewChannel(ctx, prefix)
}

// Send puts the message where the channel is. No error of Put leaves anything
// behind, so that all match ErrNotSent. A backend that does not know what
// became of a message returns layer.MaybeSent.
func (l *Layer) Send(ctx context.Context, channel string, msg layer.Message) error {
	if err := l.own.CheckSend(ctx, msg, layer.ValidateChannel(channel)); err != nil {
		return err
	}
	place := l.hub.place(channel)
	if place == nil {
		return layer.ErrChannelGone
	}
	err := place.Mailboxes().Put(channel, msg)
	if errors.Is(err, layer.ErrClosed) && place != l.own { // closed a moment ago
		err = layer.ErrChannelGone
	}
	return layer.NotSent(err)
}

// Receive waits at the process's own mailboxes, or at the hub's for a normal
// channel, which others receive on, too.
func (l *Layer) Receive(ctx context.Context, channel string) (layer.Message, error) {
	if layer.IsProcessSpecific(channel) {
		return l.own.Receive(ctx, channel)
	}
	if err := l.own.Check(ctx, layer.ValidateChannel(channel)); err != nil {
		return layer.Message{}, err
	}
	waiting, cancel := context.WithCancel(ctx) // ends with ctx, and with Close
	defer cancel()
	defer context.AfterFunc(l.closed, cancel)()
	msg, err := l.hub.normal.Receive(waiting, channel)
	if errors.Is(err, context.Canceled) && ctx.Err() == nil {
		err = layer.ErrClosed
	}
	return msg, err
}

// GroupAdd makes the channel a member where it is: whoever sends to a group
// asks every process.
func (l *Layer) GroupAdd(ctx context.Context, group, channel string) error {
	if err := l.own.Check(ctx, layer.ValidateGroup(group), layer.ValidateChannel(channel)); err != nil {
		return err
	}
	switch place := l.hub.place(channel); place {
	case nil:
		return layer.ErrChannelGone
	case l.hub.normal:
		place.Groups().Add(group, channel)
		return nil
	default:
		return place.Join(group, channel)
	}
}

// GroupDiscard is fine with what is not there.
func (l *Layer) GroupDiscard(ctx context.Context, group, channel string) error {
	err := l.own.Check(ctx, layer.ValidateGroup(group), layer.ValidateChannel(channel))
	if place := l.hub.place(channel); err == nil && place != nil {
		place.Groups().Discard(group, channel)
	}
	return err
}

// GroupSend hands the one message, which nobody can change, to every process.
func (l *Layer) GroupSend(ctx context.Context, group string, msg layer.Message) error {
	if err := l.own.CheckSend(ctx, msg, layer.ValidateGroup(group)); err != nil {
		return err
	}
	for _, place := range l.hub.places() {
		place.Deliver(group, msg, 0) // members without room are counted
	}
	return nil
}

// Release forgets a channel.
func (l *Layer) Release(ctx context.Context, channel string) error {
	return l.own.Release(ctx, channel)
}

// Close may be called again. Closing the mailboxes wakes those who wait there.
func (l *Layer) Close() error {
	l.own.BeginClose()
	l.end()
	l.hub.leave(l.own)
	l.own.Close()
	return nil
}
