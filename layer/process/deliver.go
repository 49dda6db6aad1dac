package process

import (
	"time"

	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/layer/mailbox"
)

// Join makes a channel of this process a member of group, or adopts the
// membership of a normal one. Afterwards the broker has to know of it: see the
// package documentation.
//
// Errors: [layer.ErrChannelGone] for another process's channel, or one that has
// ended; [layer.ErrClosed].
func (p *Process) Join(group, channel string) error {
	if !layer.IsProcessSpecific(channel) {
		p.adopted.Add(group, channel)
		return nil
	}
	p.groups.AddWith(group, channel, p.mailboxes.Ref(channel))
	// Looked at after adding: a channel that goes away at the same time is
	// either seen to be gone here, or leaves its groups after this one.
	if p.mailboxes.Has(channel) {
		return nil
	}
	if p.groups.Discard(group, channel) {
		p.emptied([]string{group})
	}
	if p.closed.Load() {
		return layer.ErrClosed
	}
	return layer.ErrChannelGone
}

// Leave ends a membership that began with Join, and reports whether it was the
// last one in the group, of its kind: Options.Emptied is not told.
func (p *Process) Leave(group, channel string) (last bool) {
	if !layer.IsProcessSpecific(channel) {
		return p.adopted.Discard(group, channel)
	}
	return p.groups.Discard(group, channel)
}

// Accept reports whether a message that came over the wire is fit to be
// delivered, given what its decoder returned. If not, it is counted: as
// undecodable, or as oversized. name is that of the channel or group that it is
// for, or "" where that is not known.
func (p *Process) Accept(name string, msg layer.Message, err error) bool {
	switch {
	case err != nil:
		p.Drop(layer.DropUndecodable, name, 1)
	case msg.Size() > p.options.Limits.MaxMessageSize:
		p.Drop(layer.DropOversized, name, 1)
	default:
		return true
	}
	return false
}

// Put puts a message that was accepted age ago, by another process or the
// broker, into a channel's mailbox. It reports whether that took it, and counts
// it if not: as full, or as closed if the channel has ended.
func (p *Process) Put(channel string, msg layer.Message, age time.Duration) bool {
	err := p.mailboxes.PutAged(channel, msg, age)
	p.Refused(channel, err, 1)
	return err == nil
}

// Deliver puts a message to a group that was accepted age ago, or 0, into the
// mailboxes of all members that are here. It returns how many took it. Others
// are counted as by Put, but for a channel that ends at this moment, which is
// no member any more.
func (p *Process) Deliver(group string, msg layer.Message, age time.Duration) (taken int) {
	fan := p.mailboxes.Fan(msg, age)
	for channel, value := range p.groups.MembersWith(group) {
		ref, _ := value.(mailbox.Ref)
		switch err := fan.Put(channel, ref); err {
		case nil:
			taken++
		case layer.ErrChannelGone:
		default:
			p.Refused(channel, err, 1)
		}
	}
	return taken
}

// Refused counts messages that the channel's mailbox did not take, given the
// error of that: as full, or as closed if the channel has ended. If err is nil it
// does nothing. Put and Deliver call it; it is for a backend that puts with a
// [mailbox.Fan] of its own.
func (p *Process) Refused(channel string, err error, count int) {
	switch err {
	case nil:
	case layer.ErrChannelFull:
		p.Drop(layer.DropFull, channel, count)
	default: // the channel has ended, or the process
		p.Drop(layer.DropClosed, channel, count)
	}
}
