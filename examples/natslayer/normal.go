package natslayer

import (
	"context"
	"encoding/binary"
	"math"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/layer/codec"
)

// A queue group stores nothing while no reader is there. So the messages of a
// normal channel wait in the mailbox of whoever sent them, and two queue groups
// bring both sides together:
//
//   - held: the processes that hold messages. A receiver's request goes to one
//     of them, which answers with a message, or that it has none; if there are
//     no holders the server answers (no responders).
//   - want: the processes in which receivers wait. Who has put a message into
//     its mailbox publishes there, and one of them asks for it.
//
// A process joins its queue group before it publishes, so that whichever of the
// two comes first at the server, the other finds it. A message is removed from
// the holder's mailbox before it is sent: lost on the way, it is lost.

// demand is what receivers here want of a normal channel.
type demand struct {
	receivers int // calls of Receive under way
	asked     int // requests not yet answered
}

// maxAge is how many bytes the age in front of a message takes at most.
const maxAge = binary.MaxVarintLen64

func held(channel string) interest { return interest{"held", channel, "holders"} }
func want(channel string) interest { return interest{"want", channel, "readers"} }

// receiveNormal receives one message: a batch would be taken from receivers
// elsewhere.
func (l *Layer) receiveNormal(ctx context.Context, channel string, buf []layer.Message) (int, error) {
	if err := l.ready(ctx, layer.ValidateChannel(channel)); err != nil || len(buf) == 0 {
		return 0, err
	}
	channel = strings.Clone(channel)
	l.mu.Lock()
	d := l.normal[channel]
	if d == nil {
		d = &demand{}
		l.normal[channel] = d
	}
	d.receivers++
	l.mu.Unlock()
	l.ask(channel)
	n, err := l.mailboxes.ReceiveBatch(ctx, channel, buf[:1])
	l.mu.Lock()
	if d.receivers--; d.receivers == 0 {
		delete(l.normal, channel)
	}
	l.mu.Unlock()
	return n, err
}

// ask asks the holders for as many messages as there are receivers here that
// neither find one in the mailbox nor have asked. While NATS is away it does
// nothing: keepHouse asks again.
func (l *Layer) ask(channel string) { l.askFor(channel, math.MaxInt) }

// askFor asks for no more than so many receivers.
func (l *Layer) askFor(channel string, most int) {
	unread := l.mailboxes.Len(channel)
	l.mu.Lock()
	defer l.mu.Unlock()
	d := l.normal[channel]
	if d == nil || min(d.receivers, most) <= unread+d.asked {
		return
	}
	if _, err := l.subscribeLocked(want(channel)); err != nil {
		return
	}
	for ; min(d.receivers, most) > unread+d.asked; d.asked++ {
		if l.conn.PublishRequest(l.subject("held", channel), l.toProcess(l.process, "answer", channel), nil) != nil {
			return
		}
	}
}

// answered is told what became of a request.
func (l *Layer) answered(channel string, m *nats.Msg) {
	l.mu.Lock()
	if d := l.normal[channel]; d != nil {
		d.asked = max(0, d.asked-1)
	}
	l.mu.Unlock()
	if noResponders(m) {
		return // nobody holds any; who gets one will tell
	}
	age, n := binary.Uvarint(m.Data)
	if n <= 0 {
		l.ask(channel) // that one has none; another may
		return
	}
	if msg, ok := l.decode(channel, m.Data[n:]); ok {
		l.put(channel, msg, time.Duration(age))
	}
	// Who was handed the message is still counted in d.receivers, but does not
	// wait any more.
	l.askFor(channel, l.mailboxes.Waiting(channel))
}

// offer tells the receivers elsewhere of messages in a normal channel's mailbox.
func (l *Layer) offer(channel string) {
	if l.mailboxes.Len(channel) == 0 {
		return // a receiver here has it
	}
	channel = strings.Clone(channel)
	if _, err := l.subscribe(held(channel)); err == nil {
		l.conn.Publish(l.subject("want", channel), nil) // if NATS is away, receivers ask once it is back
	}
}

// wanted is told that another process holds a message.
func (l *Layer) wanted(channel string) {
	l.mu.Lock()
	waits := l.normal[channel] != nil
	if !waits {
		l.unsubscribeLocked(want(channel))
	}
	l.mu.Unlock()
	if waits {
		l.ask(channel)
	} else { // the receivers have gone since: then it is for another process
		l.conn.Publish(l.subject("want", channel), nil)
	}
}

// give answers a request with a message, or with nothing.
func (l *Layer) give(channel string, m *nats.Msg) {
	msg, age, ok := l.mailboxes.Take(channel)
	if !ok {
		l.mu.Lock()
		l.unsubscribeLocked(held(channel))
		l.mu.Unlock()
		l.offer(channel) // one may have come meanwhile
		m.Respond(nil)
		return
	}
	body, err := codec.Encode(msg)
	if err == nil {
		err = l.conn.PublishMsg(&nats.Msg{
			Subject: m.Reply,
			Reply:   l.toProcess(l.process, "ungiven", channel),
			Data:    append(binary.AppendUvarint(nil, uint64(age)), body...),
		})
	}
	if err != nil { // it was not sent
		l.put(channel, msg, age)
	}
	l.ask(channel) // a receiver here may have counted on it
}

// healNormal ends what nobody needs any more, and asks again for what may have
// been lost with a connection or a process.
func (l *Layer) healNormal() {
	var holds, waits []string
	l.mu.Lock()
	for i := range l.subs {
		switch {
		case i.what == "held":
			holds = append(holds, i.name)
		case i.what == "want" && l.normal[i.name] == nil:
			l.unsubscribeLocked(i)
		}
	}
	for channel, d := range l.normal {
		d.asked = 0
		waits = append(waits, channel)
	}
	l.mu.Unlock()
	for _, channel := range holds {
		if l.mailboxes.Len(channel) == 0 {
			l.mu.Lock()
			l.unsubscribeLocked(held(channel))
			l.mu.Unlock()
			l.offer(channel)
		}
	}
	for _, channel := range waits {
		l.ask(channel)
	}
}
