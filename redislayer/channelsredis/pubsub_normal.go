package channelsredis

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/channellayer/channellayer/layer"
)

// pubsubNormals are the normal channels that this process receives on, and
// those for which it holds messages because nobody does.
//
// Redis keeps no message, so what nobody receives would be lost, as it is with
// channels_redis. Here it waits in the sender's mailbox of the channel, up to
// Capacity and Expiry, and goes out when Redis says that somebody has
// subscribed.
type pubsubNormals struct {
	l    *PubSub
	wake chan struct{} // has room for one: messages are held

	mu   sync.Mutex
	here map[string]*normalUse
	held map[string]struct{}

	passing string        // the channel of which a message is being passed on
	passed  chan struct{} // closed after that
}

type normalUse struct {
	receivers int
	left      time.Time // when the last one went
}

func newPubSubNormals(l *PubSub) *pubsubNormals {
	return &pubsubNormals{l: l, here: map[string]*normalUse{}, held: map[string]struct{}{}, wake: make(chan struct{}, 1)}
}

// begin is told that a receiver comes: the channel is subscribed to, and what
// was held for it is the receiver's. If the oldest of that is just being passed
// on, begin waits, until ctx ends: it may come back.
func (n *pubsubNormals) begin(ctx context.Context, channel string) error {
	n.mu.Lock()
	for n.passing == channel {
		passed := n.passed
		n.mu.Unlock()
		select {
		case <-passed:
		case <-ctx.Done():
			return ctx.Err()
		}
		n.mu.Lock()
	}
	defer n.mu.Unlock()
	use := n.here[channel]
	if use == nil {
		use = &normalUse{}
		channel = strings.Clone(channel)
		n.here[channel] = use
		delete(n.held, channel)
		n.l.host(channel).sub.subscribe(channel, false)
	}
	use.receivers++
	return nil
}

// end is told that a receiver goes.
func (n *pubsubNormals) end(channel string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	use := n.here[channel]
	if use.receivers--; use.receivers == 0 {
		use.left = time.Now()
	}
}

// touch subscribes to a channel without a receiver.
func (n *pubsubNormals) touch(ctx context.Context, channel string) error {
	if err := n.begin(ctx, channel); err != nil {
		return err
	}
	n.end(channel)
	return nil
}

// state is whether this process is subscribed to the channel, and whether it
// holds messages for it.
func (n *pubsubNormals) state(channel string) (here, held bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	_, held = n.held[channel]
	return n.here[channel] != nil, held
}

// run sweeps now and then.
func (n *pubsubNormals) run(ctx context.Context) {
	tick := time.NewTicker(max(min(time.Second, n.l.options.Expiry/4), 10*time.Millisecond))
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			n.sweep()
		case <-ctx.Done():
			return
		}
	}
}

// sweep ends the subscriptions that nobody has used for as long as a message
// may stay unread.
func (n *pubsubNormals) sweep() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for channel, use := range n.here {
		if use.receivers == 0 && time.Since(use.left) >= n.l.options.Expiry && len(n.l.process.Groups().GroupsOf(channel)) == 0 {
			delete(n.here, channel)
			n.l.host(channel).sub.unsubscribe(channel)
		}
	}
}

// hold keeps a message for a normal channel on which nobody receives.
func (l *PubSub) hold(channel string, msg layer.Message) error {
	n := l.normals
	n.mu.Lock()
	defer n.mu.Unlock()
	err := l.process.Mailboxes().Put(channel, msg)
	if err != nil {
		return err
	}
	l.process.CountSend(channel)
	if n.here[channel] == nil { // or a receiver has come here meanwhile
		n.held[strings.Clone(channel)] = struct{}{}
		nudge(n.wake)
	}
	return nil
}

// heldInterval is how often Redis is asked whether somebody receives on the
// channels for which messages are held.
const heldInterval = 50 * time.Millisecond

// pass sends on what is held, once somebody receives.
func (n *pubsubNormals) pass(ctx context.Context) {
	tick := time.NewTicker(heldInterval)
	defer tick.Stop()
	for {
		select {
		case <-n.wake:
		case <-ctx.Done():
			return
		}
		for more := true; more; {
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
			more = n.round(ctx)
		}
	}
}

// round looks after each channel once, and reports whether any is left.
func (n *pubsubNormals) round(ctx context.Context) (more bool) {
	n.mu.Lock()
	channels := make([]string, 0, len(n.held))
	for channel := range n.held {
		channels = append(channels, channel)
	}
	n.mu.Unlock()
	for _, channel := range channels {
		limited, cancel := context.WithTimeout(ctx, n.l.options.Timeout)
		m := &publish{channel: channel, ask: true}
		if n.l.host(channel).pub.send(limited, m) == nil && m.receivers > 0 {
			for n.passOne(limited, channel) {
			}
		}
		cancel()
		n.mu.Lock()
		if _, held := n.held[channel]; held && n.l.process.Mailboxes().Len(channel) == 0 { // passed on, or expired
			delete(n.held, channel)
		}
		more = more || len(n.held) > 0
		n.mu.Unlock()
	}
	return more
}

// passOne publishes the oldest message that is held for a channel.
func (n *pubsubNormals) passOne(ctx context.Context, channel string) bool {
	n.mu.Lock()
	_, held := n.held[channel]
	var msg layer.Message
	var age time.Duration
	if held {
		msg, age, held = n.l.process.Mailboxes().Take(channel)
	}
	if !held {
		n.mu.Unlock()
		return false
	}
	taken := time.Now()
	n.passing, n.passed = channel, make(chan struct{})
	n.mu.Unlock()
	defer func() {
		n.mu.Lock()
		n.passing = ""
		close(n.passed)
		n.mu.Unlock()
	}()
	body, err := n.l.encode(msg)
	if err != nil { // it was encoded before it was held
		n.l.process.Drop(layer.DropUndecodable, channel, 1)
		return true
	}
	m := &publish{channel: channel, body: body}
	err = n.l.host(channel).pub.send(ctx, m)
	switch {
	case err == nil && m.receivers > 0:
		return true
	case err != nil && !isNotSent(err):
		n.l.process.Drop(layer.DropLate, channel, 1) // it may have been published: never twice
		return false
	}
	// Who received has gone again, or Redis has: it waits on, as the oldest.
	if n.l.process.Mailboxes().Return(channel, msg, age+time.Since(taken)) != nil { // the layer was closed
		n.l.process.Drop(layer.DropClosed, channel, 1)
	}
	return false
}

// isPythonSpecific reports whether a name is such as Python's PubSub gives to
// channels of one process: they have no '!', but end in 32 hexadecimal digits.
func isPythonSpecific(channel string) bool {
	const digits = 32
	start := len(channel) - digits
	if start < 1 || channel[start-1] != '.' {
		return false
	}
	return strings.Trim(channel[start:], "0123456789abcdef") == ""
}
