package channelsredis

import (
	"context"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/layer/mailbox"
	"github.com/channellayer/channellayer/redislayer/channelsredis/internal/redisconn"
	"github.com/channellayer/channellayer/redislayer/internal/resp"
)

// fan is a group's message on its way to the queues at one host.
type fan struct {
	part   *part
	digest string        // if not "": the message goes only to those members
	bodies []resp.Pieces // one for each queue of the part
}

// plan is how a message gets to the members of a group: what is made of a list
// of them.
type plan struct {
	digest string // of the members; "" if they are to be read each time
	reply  string // the server's list of them, if they were read
	parts  []*part
	own    []member // of this process, who get it from memory
	size   int      // in memory, about, in bytes

	// unusable is how many members get nothing, since their names are those of no
	// channel: the key made of one could be another's, and Python could not read
	// what holds a name that is no UTF-8.
	unusable int
}

// part is a plan's queues at one host.
type part struct {
	host   *host
	queues []queue
}

// queue is one process's, for some of its channels, or a normal channel's.
type queue struct {
	key      string
	capacity int
	channels []string
	list     []byte // the channels as they stand in a message, or nil
}

type member struct {
	channel string
	ref     mailbox.Ref
}

// digestMembers is up to how many members a group's plan is sent with a digest
// of the members that it was made of: where they are still the same, the message
// gets there in one round trip. The server makes the digest of what it has,
// which for more members takes longer than to send them. They are read then, and
// if the reply is the same as that which the plan was made of, byte for byte,
// the plan is still good, with the names as they stand in a message.
const digestMembers = 100

// GroupSend implements [layer.Layer]. To a group of up to 100 members it takes
// one round trip as long as they stay the same, otherwise two: the group is
// read, and the message is put into the queue of each process once, with the
// names of its channels. Members in this process get it from memory. What is made
// of the lists of members is kept, up to 64 MB of that. With
// several hosts it takes two, and one that fails leaves a part of the members
// without the message: the error matches [layer.ErrMaybeSent] then. So does that
// of a member whose key at Redis holds something that is no queue, which the
// error names; all others have got the message.
func (c *Core) GroupSend(ctx context.Context, group string, msg layer.Message) error {
	if err := c.checkSend(ctx, msg); err != nil {
		return err
	}
	if err := layer.ValidateGroup(group); err != nil {
		return err
	}
	began := c.now()
	var members *roster
	var err error
	p := c.plans.get(group)
	if p != nil && p.digest != "" {
		members, err = c.carryOut(ctx, group, msg, p, true)
	} else {
		read := &op{what: opMembers, key: c.groupKey(group)}
		if p != nil {
			read.known = p.reply
		}
		if err, _ = c.hostOf(group).try(ctx, read); err == nil {
			members = read.members
		} else { // and read may be the writer's still
			err = layer.NotSent(err)
		}
	}
	if err == nil && members != nil { // read just now: the plan is to be made of them
		left := c.options.Timeout - time.Duration(c.now()-began)
		err = within(ctx, left, func(ctx context.Context) error {
			_, err := c.carryOut(ctx, group, msg, members.planned(c, group), false)
			return err
		})
	}
	if err != nil {
		return err
	}
	c.process.CountGroupSend(group)
	return nil
}

// carryOut sends the message as planned. If the plan was kept, and the members
// are others now, it has done nothing, and returns them.
func (c *Core) carryOut(ctx context.Context, group string, msg layer.Message, p *plan, kept bool) (members *roster, err error) {
	parts, digest := p.parts, ""
	if len(parts) == 0 {
		if err := c.checkFormat(msg); err != nil {
			return nil, err
		}
	}
	if kept {
		digest = p.digest
		if len(parts) == 0 { // the members are asked for all the same
			parts = []*part{{host: c.hosts[0]}}
		}
	}
	ops := make([]*op, len(parts))
	for i, part := range parts {
		o := &op{what: opFan, key: c.groupKey(group), name: group, fan: &fan{part, digest, make([]resp.Pieces, len(part.queues))}}
		for k, q := range part.queues {
			if o.fan.bodies[k], err = c.encodeListed(msg, q); err != nil {
				return nil, layer.NotSent(err)
			}
		}
		ops[i] = o
	}
	if err := sendParts(ctx, ops); err != nil {
		return nil, err
	}
	if kept && ops[0].members != nil {
		return ops[0].members, nil
	}
	if len(p.own) > 0 {
		send := c.process.Mailboxes().Fan(msg, 0)
		for _, m := range p.own {
			c.process.Refused(m.channel, send.Put(m.channel, m.ref), 1)
		}
	}
	if p.unusable > 0 {
		c.process.Drop(layer.DropUndecodable, group, p.unusable)
	}
	for _, o := range ops {
		if o.unused != nil {
			err = errors.Join(err, o.unused)
		}
	}
	if err != nil {
		err = layer.MaybeSent(redisconn.Unavailable(err))
	}
	return nil, err
}

// sendParts runs an operation at each host of a plan. If some failed, others
// may have brought the message to members.
func sendParts(ctx context.Context, ops []*op) error {
	if len(ops) == 1 {
		return ops[0].fan.part.host.do(ctx, ops[0])
	}
	errs, maybes := make([]error, len(ops)), make([]bool, len(ops))
	var all sync.WaitGroup
	for i, o := range ops {
		all.Go(func() { errs[i], maybes[i] = o.fan.part.host.try(ctx, o) })
	}
	all.Wait()
	err := errors.Join(errs...)
	if slices.Contains(maybes, true) || slices.Contains(errs, nil) {
		return layer.MaybeSent(err)
	}
	return layer.NotSent(err)
}

// roster is who was in a group when the server was asked. Those who asked
// together share it, and the plan that the first of them makes: so what they
// send goes together, too.
type roster struct {
	reply    string   // the server's
	channels []string // or what it said, if the reply had more in it
	once     sync.Once
	plan     *plan
}

func (r *roster) planned(c *Core, group string) *plan {
	r.once.Do(func() {
		if r.reply != "" {
			if p := c.plans.get(group); p != nil && p.reply == r.reply {
				r.plan = p
				return
			}
			r.channels = resp.Strings(r.reply)
		}
		r.plan = c.newPlan(group, r)
	})
	return r.plan
}

// newPlan makes the plan for a list of members, and keeps it.
func (c *Core) newPlan(group string, r *roster) *plan {
	members, limits := r.channels, c.process.Limits()
	p := &plan{reply: r.reply, size: planOverhead}
	at := map[string]*queue{}
	hosts := make([]*part, len(c.hosts))
	var order []string
	for _, channel := range members {
		p.size += 2*len(channel) + nameOverhead // as the server gave it, and in a message
		if layer.ValidateChannel(channel) != nil && !pythonAdmits(channel) {
			p.unusable++
			continue
		}
		name := channel
		if layer.IsProcessSpecific(channel) {
			if c.process.Owns(channel) {
				p.own = append(p.own, member{channel, c.process.Mailboxes().Ref(channel)})
				continue
			}
			name = layer.ClientPrefix(channel)
		}
		q := at[name]
		if q == nil {
			q = &queue{key: c.options.Prefix + name, capacity: limits.CapacityFor(channel)}
			p.size += queueOverhead
			at[name] = q
			order = append(order, name)
		}
		q.channels = append(q.channels, channel)
	}
	for _, name := range order {
		i := hostOf(name, len(c.hosts))
		if hosts[i] == nil {
			hosts[i] = &part{host: c.hosts[i]}
			p.parts = append(p.parts, hosts[i])
		}
		at[name].list = c.packed(at[name].channels)
		hosts[i].queues = append(hosts[i].queues, *at[name])
	}
	if len(c.hosts) == 1 && len(members) <= digestMembers {
		sum := sha1.Sum([]byte(strings.Join(members, "\n")))
		p.digest = hex.EncodeToString(sum[:])
	}
	c.plans.put(group, p)
	return p
}

// plans are kept by group.
type plans struct {
	mu    sync.Mutex
	m     map[string]*plan
	bytes int // of all of them
}

const (
	// maxPlans bounds the bytes that the plans take together: that is room for some
	// 300,000 names of usual length.
	maxPlans = 64 << 20

	// What is kept besides the names, of each of them, of each plan and of each
	// queue, about.
	nameOverhead, planOverhead, queueOverhead = 64, 256, 128
)

func (p *plans) get(group string) *plan {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.m[group]
}

func (p *plans) put(group string, made *plan) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dropLocked(group)
	if made.size > maxPlans {
		return
	}
	if p.bytes+made.size > maxPlans {
		clear(p.m)
		p.bytes = 0
	}
	p.m[strings.Clone(group)] = made
	p.bytes += made.size
}

func (p *plans) dropLocked(group string) {
	if old := p.m[group]; old != nil {
		p.bytes -= old.size
		delete(p.m, group)
	}
}

// GroupAdd implements [layer.Layer]. It takes a round trip. After an error,
// other than one about the names, the membership may have begun or not; adding
// again is right, and so is discarding. What began here is remembered, for a
// server that comes back empty: a channel of this process until it leaves or
// goes away, any other, which may leave elsewhere, for GroupExpiry unless it
// leaves here. Of others, up to 100,000 memberships are remembered at a time, which
// takes some 30 MB; what begins beyond that is not written again.
func (c *Core) GroupAdd(ctx context.Context, group, channel string) error {
	if err := c.beginMembership(ctx, group, channel); err != nil {
		return err
	}
	defer c.leaving.RUnlock()
	group, channel = strings.Clone(group), strings.Clone(channel)
	c.remember(group, channel)
	// Looked at after adding: a channel that goes away at the same time is
	// either seen to be gone here, or leaves its groups after this one.
	if c.process.Owns(channel) && !c.process.Mailboxes().Has(channel) {
		c.added.Discard(group, channel)
		return c.closedOr(layer.ErrChannelGone)
	}
	err := c.hostOf(group).do(ctx, &op{what: opAdd, key: c.groupKey(group), name: channel})
	if c.process.Owns(channel) && !c.process.Mailboxes().Has(channel) {
		c.discardLater(group, channel) // it went away meanwhile, perhaps before it was added
		if err == nil {
			err = c.closedOr(layer.ErrChannelGone)
		}
	}
	return err
}

// GroupDiscard implements [layer.Layer]. It takes a round trip.
func (c *Core) GroupDiscard(ctx context.Context, group, channel string) error {
	if err := c.beginMembership(ctx, group, channel); err != nil {
		return err
	}
	defer c.leaving.RUnlock()
	c.forget(group, channel)
	return c.hostOf(group).do(ctx, &op{what: opDiscard, key: c.groupKey(group), name: strings.Clone(channel)})
}

// beginMembership checks a call that changes who is in a group. If its error is
// nil, leaving is held: Close, which ends what has begun, waits for the call.
func (c *Core) beginMembership(ctx context.Context, group, channel string) error {
	if !c.leaving.TryRLock() { // fails only while Close has it, or waits for it
		return layer.ErrClosed
	}
	err := c.process.Check(ctx, layer.ValidateGroup(group), layer.ValidateChannel(channel))
	if err != nil {
		c.leaving.RUnlock()
	}
	return err
}

// leaveAll ends the memberships of a channel that is gone, as far as they began
// here. Redis is told in passing.
func (c *Core) leaveAll(channel string) {
	if !c.leaving.TryRLock() {
		return // Close ends them
	}
	defer c.leaving.RUnlock()
	for _, group := range c.added.GroupsOf(channel) {
		c.added.Discard(group, channel)
		c.discardLater(group, channel)
	}
}

func (c *Core) discardLater(group, channel string) {
	c.hostOf(group).enqueue(&op{what: opDiscard, key: c.groupKey(group), name: channel})
}

// sweep forgets memberships that have expired, and queues without channels.
func (c *Core) sweep(ctx context.Context) {
	tick := time.NewTicker(max(min(time.Minute, c.options.GroupExpiry), time.Second))
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			c.added.Sweep()
			c.others.sweep()
			c.sweepOwn(c.now())
		case <-ctx.Done():
			return
		}
	}
}
