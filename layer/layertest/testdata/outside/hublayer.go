// Package hublayer shows how to write a backend: it is a complete one, in a
// module of its own, made of the public packages. hublayer.go has the methods
// of the contract; place.go the queues and the members, which packages mailbox
// and groups do the work of; hub.go what stands where yours has a broker and a
// network.
package hublayer

import (
	"context"
	"errors"
	"strconv"
	"sync/atomic"

	"github.com/channellayer/channellayer/layer"
)

// Layer is one process on a hub. It has no lock: its parts have theirs.
type Layer struct {
	hub    *Hub
	own    *place // its own channels, and their memberships
	limits layer.Limits
	client string        // what only its channels have before the '!'
	made   atomic.Uint64 // channels so far

	closed context.Context // ends with Close
	end    context.CancelFunc
}

// There are optional interfaces beside it, such as layer.Releaser. The suite
// tests those that a backend has.
var _ layer.Layer = (*Layer)(nil)

// NewChannel needs nobody's permission: the process's part makes it unique.
func (l *Layer) NewChannel(ctx context.Context, prefix string) (string, error) {
	if err := l.ready(ctx, layer.ValidatePrefix(prefix)); err != nil {
		return "", err
	}
	if prefix == "" {
		prefix = layer.DefaultPrefix
	}
	name := prefix + l.client + strconv.FormatUint(l.made.Add(1), 36)
	return name, l.own.queues.Open(name)
}

// Send puts the message where the channel is. No error of Put leaves anything
// behind, so that all match ErrNotSent. A backend that does not know what
// became of a message returns layer.MaybeSent.
func (l *Layer) Send(ctx context.Context, channel string, msg layer.Message) error {
	if err := l.ready(ctx, layer.ValidateChannel(channel), l.limits.CheckMessage(msg)); err != nil {
		return layer.NotSent(err)
	}
	place := l.hub.place(channel)
	if place == nil {
		return layer.ErrChannelGone
	}
	err := place.queues.Put(channel, msg)
	if errors.Is(err, layer.ErrClosed) && place != l.own { // closed a moment ago
		err = layer.ErrChannelGone
	}
	return layer.NotSent(err)
}

// Receive waits at the process's own queues, or at the hub's for a normal
// channel, which others receive on, too.
func (l *Layer) Receive(ctx context.Context, channel string) (layer.Message, error) {
	if err := l.ready(ctx, layer.ValidateChannel(channel)); err != nil {
		return layer.Message{}, err
	}
	if layer.IsProcessSpecific(channel) {
		if !l.owns(channel) {
			return layer.Message{}, layer.ErrForeignChannel
		}
		return l.own.queues.Receive(ctx, channel)
	}
	waiting, cancel := context.WithCancel(ctx) // ends with ctx, and with Close
	defer cancel()
	defer context.AfterFunc(l.closed, cancel)()
	msg, err := l.hub.normal.queues.Receive(waiting, channel)
	if errors.Is(err, context.Canceled) && ctx.Err() == nil {
		err = layer.ErrClosed
	}
	return msg, err
}

// GroupAdd makes the channel a member where it is: whoever sends to a group
// asks every process.
func (l *Layer) GroupAdd(ctx context.Context, group, channel string) error {
	if err := l.ready(ctx, layer.ValidateGroup(group), layer.ValidateChannel(channel)); err != nil {
		return err
	}
	place := l.hub.place(channel)
	if place == nil {
		return nil // its process is gone, and would not get anything
	}
	place.groups.Add(group, channel)
	if l.owns(channel) && !place.queues.Has(channel) { // after adding: it may go meanwhile
		place.groups.Discard(group, channel)
		return layer.ErrChannelGone
	}
	return nil
}

// GroupDiscard is fine with what is not there.
func (l *Layer) GroupDiscard(ctx context.Context, group, channel string) error {
	err := l.ready(ctx, layer.ValidateGroup(group), layer.ValidateChannel(channel))
	if place := l.hub.place(channel); err == nil && place != nil {
		place.groups.Discard(group, channel)
	}
	return err
}

// GroupSend hands the one message, which nobody can change, to every process.
func (l *Layer) GroupSend(ctx context.Context, group string, msg layer.Message) error {
	if err := l.ready(ctx, layer.ValidateGroup(group), l.limits.CheckMessage(msg)); err != nil {
		return layer.NotSent(err)
	}
	for _, place := range l.hub.places() {
		place.deliver(group, msg)
	}
	return nil
}

// Close may be called again. Closing the queues wakes those who wait there.
func (l *Layer) Close() error {
	l.end()
	l.hub.leave(l)
	l.own.queues.Close()
	return nil
}

// ready returns ctx's error, ErrClosed, or the first of errs.
func (l *Layer) ready(ctx context.Context, errs ...error) error {
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case l.closed.Err() != nil:
		return layer.ErrClosed
	}
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func (l *Layer) owns(channel string) bool { return clientOf(channel) == l.client }
