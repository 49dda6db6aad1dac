package exchange

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/layer/process"
)

// Role is what a process is to a normal channel.
type Role string

const (
	Holders Role = "holders" // have unread messages
	Readers Role = "readers" // have receivers that wait
)

// Broker is what an Exchange needs of the broker. No method may wait for an
// answer, nor call the Exchange. What they send has to arrive in the order of
// the calls, or not at all: an error is for the case that it was not sent.
type Broker interface {
	// Join makes this process one of the channel's holders or readers, and
	// Leave ends that. They alternate for each role and channel, and are
	// called one at a time. After an outage the backend joins again by itself.
	Join(role Role, channel string) error
	Leave(role Role, channel string)

	// Ask asks one of the channel's holders, other than this process, for a
	// message: its Exchange is told by Asked. What becomes of it comes to
	// Arrived or NotHeld.
	Ask(channel string) error

	// Offer tells one of the channel's readers, other than this process, that
	// there is a message: its Exchange is told by Offered.
	Offer(channel string) error
}

// Exchange carries normal channels for one process. Make one with [New]. All
// methods may be called concurrently; none but Receive waits for anything but
// the Broker's methods.
type Exchange struct {
	process *process.Process
	broker  Broker

	mu      sync.Mutex
	demands map[string]*demand // of channels with receivers here

	roles  sync.Mutex // held over Join and Leave
	joined map[membership]struct{}
}

// demand is what receivers here want of a channel.
type demand struct {
	receivers int  // calls of Receive that have no message yet
	served    int  // calls that were handed one, and have not returned
	asked     int  // for so many messages, without an answer yet
	offered   bool // meanwhile, more than that: to be followed up after an answer
}

type membership struct {
	role    Role
	channel string
}

// New makes an Exchange. It needs no closing: Close of the process ends its
// receivers.
func New(p *process.Process, broker Broker) *Exchange {
	return &Exchange{process: p, broker: broker, demands: map[string]*demand{}, joined: map[membership]struct{}{}}
}

// Receive receives one message of a normal channel, as layer.BatchReceiver
// asks: into a longer buf as well, since more would be taken from receivers
// elsewhere.
func (x *Exchange) Receive(ctx context.Context, channel string, buf []layer.Message) (int, error) {
	if err := x.process.Check(ctx, layer.ValidateChannel(channel)); err != nil || len(buf) == 0 {
		return 0, err
	}
	channel = strings.Clone(channel)
	x.mu.Lock()
	d := x.demands[channel]
	if d == nil {
		d = &demand{}
		x.demands[channel] = d
	}
	d.receivers++
	x.mu.Unlock()
	x.ask(channel)

	n, err := x.process.ReceiveBatch(ctx, channel, buf[:1])
	x.mu.Lock()
	if d.served > 0 { // its own, or that of a call that will return soon
		d.served--
	} else {
		d.receivers--
	}
	ended := d.served == 0 && d.receivers == 0
	if ended {
		delete(x.demands, channel)
	}
	passOn := ended && d.offered
	x.mu.Unlock()
	if passOn {
		x.Offered(channel)
	}
	return n, err
}

// Send puts a message on a normal channel: into this process's mailbox, from
// where it goes to a receiver here or elsewhere.
//
// Errors, all of which match [layer.ErrNotSent]: [layer.ErrChannelFull],
// [layer.ErrInvalidName], [layer.ErrClosed].
func (x *Exchange) Send(channel string, msg layer.Message) error {
	err := x.process.Mailboxes().Put(channel, msg)
	if err == nil {
		x.offer(channel)
	}
	return err
}

// Put is Send for a message that was accepted age ago, or for another
// destination, such as a group that the channel is in. It reports whether the
// mailbox took it, and counts it if not, as [process.Process.Put] does.
func (x *Exchange) Put(channel string, msg layer.Message, age time.Duration) bool {
	ok := x.process.Put(channel, msg, age)
	if ok {
		x.offer(channel)
	}
	return ok
}

// Asked is told that another process asks for a message. If there is one, give
// is called with it and how long ago it was accepted, and sends it to who asked;
// if that fails for certain, give returns an error and the message stays here.
// Otherwise Asked returns false, and who asked is to be told that: there it is
// NotHeld.
func (x *Exchange) Asked(channel string, give func(msg layer.Message, age time.Duration) error) bool {
	msg, age, ok := x.process.Mailboxes().Take(channel)
	if !ok {
		x.agree(Holders, channel)
		return false
	}
	if give(msg, age) != nil {
		x.process.Put(channel, msg, age)
	} else if x.process.Mailboxes().Len(channel) > 0 {
		x.broker.Offer(channel) // several offers may have met one reader
	}
	x.ask(channel) // a receiver here may have counted on it
	return true
}

// Offered is told that another process holds a message.
func (x *Exchange) Offered(channel string) {
	if x.ask(channel) > 0 {
		return
	}
	x.mu.Lock()
	d := x.demands[channel]
	later := d != nil && d.asked > 0
	if later {
		d.offered = true
	}
	x.mu.Unlock()
	if !later { // nobody here needs it any more: then it is for another process
		x.agree(Readers, channel)
		x.broker.Offer(channel) // if it fails, readers ask by themselves
	}
}

// Arrived is told a message that was asked for, and how long ago it was
// accepted.
func (x *Exchange) Arrived(channel string, msg layer.Message, age time.Duration) {
	offered := x.answered(channel)
	if age >= x.process.Limits().Expiry || !x.handOver(channel, msg) {
		x.Put(channel, msg, age)
	}
	if offered {
		x.Offered(channel)
	}
}

// NotHeld is told that asking brought nothing. anybody is whether a holder said
// so, or sent what cannot be used: then another may have one. Otherwise there is
// no holder, as far as the broker knows, and who gets a message will offer it.
func (x *Exchange) NotHeld(channel string, anybody bool) {
	if x.answered(channel) || anybody {
		x.Offered(channel)
	}
}

// Heal asks again for what may have been lost with a connection or a process,
// and leaves what nobody needs any more. Call it about once a second.
func (x *Exchange) Heal() {
	var channels []string
	x.mu.Lock()
	for channel, d := range x.demands {
		d.asked = 0
		channels = append(channels, channel)
	}
	x.mu.Unlock()
	for _, channel := range channels {
		x.ask(channel)
	}
	x.roles.Lock()
	memberships := make([]membership, 0, len(x.joined))
	for m := range x.joined {
		memberships = append(memberships, m)
	}
	x.roles.Unlock()
	for _, m := range memberships {
		x.agree(m.role, m.channel)
	}
}

// ask asks the holders for as many messages as there are receivers here that
// neither find one in the mailbox nor have asked, and returns how many that
// were. What cannot be asked for now, Heal asks for later.
func (x *Exchange) ask(channel string) (asked int) {
	unread := x.process.Mailboxes().Len(channel)
	n := 0
	x.mu.Lock()
	d := x.demands[channel]
	if d != nil {
		n = max(0, d.receivers-unread-d.asked)
		d.asked += n
	}
	x.mu.Unlock()
	if n == 0 || x.agree(Readers, channel) == nil {
		for asked < n && x.broker.Ask(channel) == nil {
			asked++
		}
	}
	if asked < n {
		x.mu.Lock()
		d.asked = max(0, d.asked-(n-asked))
		x.mu.Unlock()
	}
	return asked
}

// handOver gives msg to a receiver that waits, and reports false if none does.
func (x *Exchange) handOver(channel string, msg layer.Message) bool {
	x.mu.Lock()
	d := x.demands[channel]
	counted := d != nil && d.receivers > 0
	if counted { // before, since the receiver may return at once
		d.receivers--
		d.served++
	}
	x.mu.Unlock()
	if !counted {
		return false
	}
	ok := x.process.Mailboxes().HandOver(channel, msg)
	x.mu.Lock()
	if !ok && d.served > 0 {
		d.served--
		d.receivers++
	}
	x.mu.Unlock()
	return ok
}

// answered takes note of an answer to what was asked, and reports whether there
// was an offer meanwhile that is to be followed now.
func (x *Exchange) answered(channel string) (offered bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	d := x.demands[channel]
	if d == nil {
		return false
	}
	d.asked = max(0, d.asked-1)
	offered, d.offered = d.offered, false
	return offered
}

// offer tells readers elsewhere of messages in the mailbox here.
func (x *Exchange) offer(channel string) {
	if x.process.Mailboxes().Len(channel) == 0 {
		return // a receiver here has it
	}
	if x.agree(Holders, strings.Clone(channel)) == nil {
		x.broker.Offer(channel) // if it fails, readers ask by themselves
	}
}

func (x *Exchange) wants(channel string) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.demands[channel] != nil
}

// agree joins or leaves, whichever makes the broker agree with what is here.
// Whoever changes that calls it afterwards, so the last to have the lock leaves
// it right.
func (x *Exchange) agree(role Role, channel string) error {
	x.roles.Lock()
	defer x.roles.Unlock()
	m := membership{role, channel}
	_, joined := x.joined[m]
	needed := role == Readers && x.wants(channel) || role == Holders && x.process.Mailboxes().Len(channel) > 0
	switch {
	case needed && !joined:
		if err := x.broker.Join(role, channel); err != nil {
			return err
		}
		x.joined[m] = struct{}{}
	case !needed && joined:
		x.broker.Leave(role, channel)
		delete(x.joined, m)
	}
	return nil
}
