package natslayer

import (
	"context"
	"encoding/binary"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/layer/codec"
	"github.com/channellayer/channellayer/layer/exchange"
	"github.com/channellayer/channellayer/layer/process"
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
func (l *Layer) Send(ctx context.Context, channel string, msg layer.Message) (err error) {
	if err := l.process.CheckSend(ctx, msg, layer.ValidateChannel(channel)); err != nil {
		return err
	}
	switch {
	case !layer.IsProcessSpecific(channel):
		err = l.normal.Send(channel, msg)
	case l.process.Owns(channel):
		err = l.process.Mailboxes().Put(channel, msg)
	default:
		err = l.sendAway(ctx, channel, msg)
	}
	if err == nil {
		l.process.CountSend(channel)
	}
	return err
}

// sendAway publishes to the channel's process. If nobody subscribes there, the
// server says so (no responders) to the reply subject, some time later. It is
// believed for a second: a process that lost its connection comes back under
// its name.
func (l *Layer) sendAway(ctx context.Context, channel string, msg layer.Message) error {
	l.mu.RLock()
	gone := l.gone[process.Of(channel)]
	l.mu.RUnlock()
	if gone {
		return layer.ErrChannelGone
	}
	body, err := codec.Encode(msg)
	if err != nil {
		return layer.NotSent(err)
	}
	return layer.NotSent(l.problem(ctx, l.conn.PublishMsg(&nats.Msg{
		Subject: l.toProcess(process.Of(channel), "message", channel),
		Reply:   l.toProcess(l.process.Name(), "undelivered", channel),
		Data:    body,
	})))
}

// served is the header of a group message that names the normal channels which
// its sender has served, being one of those through which they are members.
const served = "Served"

// GroupSend implements [layer.Layer]. It is published once, whatever the
// number of members and processes. If that fails, nobody gets it.
func (l *Layer) GroupSend(ctx context.Context, group string, msg layer.Message) error {
	if err := l.process.CheckSend(ctx, msg, layer.ValidateGroup(group)); err != nil {
		return err
	}
	body, err := codec.Encode(msg)
	if err != nil {
		return layer.NotSent(err)
	}
	m := &nats.Msg{Subject: l.subject("group", group), Data: body}
	normal := slices.Collect(l.process.Adopted().Members(group))
	if len(normal) > 0 {
		m.Header = nats.Header{served: normal}
	}
	if err := l.conn.PublishMsg(m); err != nil {
		return layer.NotSent(l.problem(ctx, err))
	}
	l.process.Deliver(group, msg, 0)
	for _, channel := range normal {
		l.normal.Put(channel, msg, 0)
	}
	l.process.CountGroupSend(group)
	return nil
}

// distribute takes what comes, in the order in which the server sent it: one
// goroutine for all subscriptions. It ends when the connection has ended and
// all is distributed.
func (l *Layer) distribute() {
	defer close(l.done)
	for m := range l.in {
		switch what, name := l.parse(m.Subject); what {
		case "process":
			tokens := strings.Split(m.Subject, ".")
			l.told(tokens[len(tokens)-2], untoken(tokens[len(tokens)-1]), m)
		case "group":
			l.arrivedForGroup(name, m)
		case string(exchange.Holders):
			l.give(name, m)
		case string(exchange.Readers):
			l.normal.Offered(name)
		case "all":
			if group, channel, ok := strings.Cut(string(m.Data), " "); ok {
				l.leave(group, channel)
			}
		}
	}
}

// told is told something about a channel.
func (l *Layer) told(what, channel string, m *nats.Msg) {
	switch what {
	case "message":
		if msg, err := codec.Decode(m.Data); l.process.Accept(channel, msg, err) {
			l.process.Put(channel, msg, 0)
		}
	case "undelivered":
		l.mu.Lock()
		l.gone[process.Of(channel)] = true
		l.mu.Unlock()
		l.process.Drop(layer.DropClosed, channel, 1)
	case "answer":
		l.answered(channel, m)
	case "add", "discard":
		l.running.Go(func() { l.requested(what, channel, m) })
	}
}

func (l *Layer) arrivedForGroup(group string, m *nats.Msg) {
	normal := untoken(m.Sub.Queue)
	if normal != "" && (slices.Contains(m.Header[served], normal) || !l.process.Adopted().Has(group, normal)) {
		return
	}
	msg, err := codec.Decode(m.Data)
	switch {
	case !l.process.Accept(group, msg, err):
	case normal != "":
		l.normal.Put(normal, msg, 0)
	default:
		l.process.Deliver(group, msg, 0)
	}
}

// A queue group stores nothing while no reader is there. So the messages of a
// normal channel wait in the mailbox of whoever sent them, and package exchange
// brings both sides together, by two queue groups for each channel.

// broker implements [exchange.Broker].
type broker struct{ *Layer }

func (b broker) Join(role exchange.Role, channel string) error {
	_, err := b.subscribe(b.subject(string(role), channel), string(role), always)
	return err
}

func (b broker) Leave(role exchange.Role, channel string) {
	b.subscribe(b.subject(string(role), channel), string(role), func() bool { return false })
}

func (b broker) Ask(channel string) error {
	return b.conn.PublishRequest(b.subject(string(exchange.Holders), channel), b.toProcess(b.process.Name(), "answer", channel), nil)
}

func (b broker) Offer(channel string) error {
	return b.conn.Publish(b.subject(string(exchange.Readers), channel), nil)
}

// maxAge is how many bytes the age in front of a message takes at most.
const maxAge = binary.MaxVarintLen64

// give answers a request with a message, or with nothing.
func (l *Layer) give(channel string, m *nats.Msg) {
	if !l.normal.Asked(channel, func(msg layer.Message, age time.Duration) error {
		body, err := codec.Encode(msg)
		if err != nil {
			return err
		}
		return l.conn.PublishMsg(&nats.Msg{
			Subject: m.Reply,
			Reply:   l.toProcess(l.process.Name(), "undelivered", channel),
			Data:    append(binary.AppendUvarint(nil, uint64(age)), body...),
		})
	}) {
		m.Respond(nil)
	}
}

// answered is told what became of a request.
func (l *Layer) answered(channel string, m *nats.Msg) {
	age, n := binary.Uvarint(m.Data)
	if n <= 0 { // no responders, says the server; or a holder has none
		l.normal.NotHeld(channel, m.Header.Get("Status") != "503")
		return
	}
	if msg, err := codec.Decode(m.Data[n:]); l.process.Accept(channel, msg, err) {
		l.normal.Arrived(channel, msg, time.Duration(age))
	} else {
		l.normal.NotHeld(channel, true)
	}
}
