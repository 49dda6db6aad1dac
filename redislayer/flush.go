package redislayer

import (
	"context"
	"encoding/binary"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/channellayer/channellayer/layer"
)

// op is one operation that waits to be written.
type op struct {
	what  opKind
	where string // process, group or channel
	name  string // of the frame, if it is not where
	body  []byte
	score string // opBack: when the message was accepted
	count int    // opWait and opLeave: of receivers; opReset: the mark

	taken bool // guarded by session.mu
	err   error
	maybe bool          // beside an error: the server may have run it
	done  chan struct{} // nil if nobody waits

	// then is told the result in place of done, on the session's goroutine.
	then func(err error, result int64)
}

type opKind byte

const (
	opSend       opKind = iota // a message to a channel of another process
	opGroup                    // a message to a group
	opPush                     // a message to a normal channel
	opBack                     // an entry to a normal channel's queue again
	opWait                     // receivers of a normal channel
	opLeave                    //
	opReset                    //
	opPrune                    // what has expired
	opJoin                     // a normal channel's membership of a group
	opLeaveGroup               //
	opTrim                     // what the reader has handed over
	opControl                  // a request or reply
	opGroupEntry               // a group's entry for this process; flush writes it first
	opPing                     // a round trip
)

func (o *op) finish(err error) {
	o.err = err
	if o.then != nil {
		o.then(err, 0)
	}
	if o.done != nil {
		o.done <- struct{}{}
	}
}

// call is one command of a round trip and what its reply means.
type call struct {
	cmd   *redis.Cmd
	ops   []*op
	apply func(c *call, reply any)
}

// Bounds of one entry. A larger message travels alone.
const (
	maxEntryMessages = 256
	maxEntryBytes    = 64 << 10
)

// flush writes groups' registrations and then the operations, in one round
// trip each. The error is that of the connection; every operation is finished
// whatever happens.
func (s *session) flush(ctx context.Context, c *conn, ops []*op, groups []string) error {
	var refused map[string]error
	for _, o := range ops {
		if o.what == opGroupEntry {
			groups = append(groups, o.where)
		}
	}
	if len(groups) > 0 {
		var err error
		if refused, err = s.writeGroups(ctx, c, groups); err != nil {
			s.soil(groups...)
			s.finish(ops, unavailable(err))
			return err
		}
		s.refused(refused)
	}
	ops = finishWritten(ops, refused)
	calls := s.plan(ctx, ops)
	err := s.runCalls(ctx, c, calls)
	if err == nil {
		// Normal channels in groups were learned of by the group's calls.
		var more []*call
		for _, call := range calls {
			if call.ops[0].what == opGroup {
				more = append(more, s.toNormalMembers(ctx, call)...)
			}
		}
		err = s.runCalls(ctx, c, more)
	}
	for _, call := range calls {
		if call.ops[0].what == opGroup {
			for _, o := range call.ops {
				o.finish(o.err)
			}
		}
	}
	return err
}

// finishWritten finishes the operations that asked for no more than groups'
// entries.
func finishWritten(ops []*op, refused map[string]error) []*op {
	return slices.DeleteFunc(ops, func(o *op) bool {
		if o.what == opGroupEntry {
			var err error
			if refusal := refused[o.where]; refusal != nil {
				err = unavailable(refusal)
			}
			o.finish(err)
		}
		return o.what == opGroupEntry
	})
}

// plan makes the calls: everything for one destination in as few as possible.
func (s *session) plan(ctx context.Context, ops []*op) []*call {
	if len(ops) == 0 {
		return nil
	}
	if len(ops) == 1 { // the common case of a lone sender
		return []*call{s.callFor(ctx, ops)}
	}
	type place struct {
		what  opKind
		where string
	}
	at := map[place]int{} // mostly there are few
	var buckets [][]*op
	for _, o := range ops {
		p := place{o.what, o.where}
		switch o.what {
		case opBack, opWait, opLeave, opReset, opPrune:
			p.what = opPush // all that is about one normal channel goes together
		case opLeaveGroup:
			p.what = opJoin
		}
		i, ok := at[p]
		if !ok {
			i = len(buckets)
			at[p] = i
			buckets = append(buckets, nil)
		}
		buckets[i] = append(buckets[i], o)
	}
	calls := make([]*call, 0, len(buckets))
	for _, bucket := range buckets {
		for len(bucket) > 0 {
			n := fill(bucket, s.l.options.InboxCapacity)
			calls = append(calls, s.callFor(ctx, bucket[:n]))
			bucket = bucket[n:]
		}
	}
	return calls
}

// fill returns how many of the operations fit in one entry. An inbox takes or
// refuses an entry as a whole, so a small inbox gets small ones.
func fill(ops []*op, capacity int) int {
	bytes, most := 0, min(maxEntryMessages, max(1, capacity/4))
	for i, o := range ops {
		bytes += len(o.name) + len(o.where) + len(o.body)
		if i == most || i > 0 && bytes > maxEntryBytes {
			return i
		}
	}
	return len(ops)
}

// callFor makes one call of operations of one kind for one destination.
func (s *session) callFor(ctx context.Context, ops []*op) *call {
	l, where := s.l, ops[0].where
	switch ops[0].what {
	case opSend:
		entry := s.entry(ops, kindChannel)
		return &call{ops: ops, apply: applyDelivered, cmd: deliverScript.call(ctx, []string{l.keys.inbox(where), l.keys.lease(where)},
			entry, len(ops), l.options.InboxCapacity, l.options.InboxBytes)}
	case opControl:
		entry := s.header()
		for _, o := range ops {
			k := kindRequest
			if o.name == "" {
				k = kindReply
			}
			entry = appendFrame(entry, k, o.name, o.body)
		}
		return &call{ops: ops, apply: applyDelivered, cmd: controlScript.call(ctx, []string{l.keys.inbox(where), l.keys.lease(where)},
			s.sealer.seal(entry, where))}
	case opGroup:
		entry := s.entry(ops, kindGroup)
		return &call{ops: ops, apply: s.applyGroup, cmd: groupScript.call(ctx, []string{l.keys.group(where)},
			entry, len(ops), l.options.InboxCapacity, l.options.InboxBytes, l.process, l.keys.inboxes(), l.keys.leases())}
	case opJoin, opLeaveGroup:
		return s.joinCall(ctx, ops)
	case opTrim:
		read := l.reader.progress()
		return &call{ops: ops, apply: applyDone, cmd: trimScript.call(ctx, []string{l.keys.inbox(l.process), l.keys.lease(l.process)},
			s.incarnation.Load(), read.next().String(), read.messages, read.bytes)}
	case opPing:
		return &call{ops: ops, apply: applyDone, cmd: redis.NewCmd(ctx, "PING")}
	}
	return s.queueCall(ctx, ops)
}

func (s *session) header() []byte {
	s.sequence++
	return header{s.l.process, s.epoch, s.sequence}.append(make([]byte, 0, 256))
}

func (s *session) entry(ops []*op, k kind) []byte {
	entry := s.header()
	size := 0
	for _, o := range ops {
		size += len(o.name) + len(o.where) + len(o.body) + maxFrameHeader
	}
	entry = slices.Grow(entry, size)
	for _, o := range ops {
		name := o.name
		if name == "" {
			name = o.where
		}
		entry = appendFrame(entry, k, name, o.body)
	}
	return s.sealer.seal(entry, "")
}

// queueCall makes the call for operations on one normal channel.
func (s *session) queueCall(ctx context.Context, ops []*op) *call {
	l, channel := s.l, ops[0].where
	if slices.ContainsFunc(ops, func(o *op) bool { return o.what == opPush || o.what == opBack }) {
		l.queues.filled(channel)
	}
	args := make([]any, 0, 5+3*len(ops))
	args = append(args, l.options.Limits.CapacityFor(channel), l.options.Limits.Expiry.Milliseconds(),
		l.keys.inboxes(), l.waitingTTL().Milliseconds(), l.keys.leases())
	for _, o := range ops {
		switch o.what {
		case opPush:
			args = append(args, "push", s.sealer.seal(appendFrame(s.header(), kindQueue, channel, o.body), ""), "")
		case opBack:
			args = append(args, "back", o.body, o.score)
		case opWait:
			args = append(args, "wait", l.process, o.count)
		case opLeave:
			args = append(args, "leave", l.process, o.count)
		case opReset:
			mark := appendFrame(s.header(), kindMark, channel, binary.AppendUvarint(nil, uint64(o.count)))
			args = append(args, "reset", l.process, s.sealer.seal(mark, l.process))
		case opPrune:
			args = append(args, "prune", "", "")
		}
	}
	return &call{ops: ops, apply: s.applyQueue, cmd: queueScript.call(ctx, []string{l.keys.queue(channel), l.keys.waiting(channel)}, args...)}
}

// toNormalMembers makes the calls that bring a group's messages to the normal
// channels in it.
func (s *session) toNormalMembers(ctx context.Context, c *call) []*call {
	if c.ops[0].err != nil {
		return nil
	}
	reply, _ := c.cmd.Val().([]any)
	if len(reply) < 2 {
		return nil
	}
	var calls []*call
	for _, channel := range reply[1:] {
		channel, _ := channel.(string)
		var pushes []*op
		for _, o := range c.ops {
			pushes = append(pushes, &op{what: opPush, where: channel, body: o.body, then: func(err error, _ int64) {
				switch {
				case err == nil:
				case err == layer.ErrChannelFull:
					s.l.drop(layer.DropFull, channel, 1)
				default:
					o.err, o.maybe = err, true
				}
			}})
		}
		calls = append(calls, s.queueCall(ctx, pushes))
	}
	return calls
}

// runCalls runs the calls in one round trip, and once more those for which the
// server had forgotten the script. The error is that of the connection; then
// what has no reply has an unknown outcome. It settles every call.
func (s *session) runCalls(ctx context.Context, c *conn, calls []*call) error {
	if len(calls) == 0 {
		return nil
	}
	broken := s.exchange(ctx, c, calls)
	var forgotten []*call
	for _, call := range calls {
		if err := call.cmd.Err(); broken == nil && err != nil && redis.HasErrorPrefix(err, "NOSCRIPT") {
			forgotten = append(forgotten, call)
		}
	}
	if len(forgotten) > 0 {
		if broken = c.loadScripts(ctx); broken == nil {
			for _, call := range forgotten {
				call.cmd = redis.NewCmd(ctx, call.cmd.Args()...)
			}
			broken = s.exchange(ctx, c, forgotten)
		}
	}
	var stale error
	for _, call := range calls {
		err := call.cmd.Err()
		if err == nil || err == redis.Nil {
			call.apply(call, call.cmd.Val())
			continue
		}
		s.failCall(call, err)
		if staleServer(err) {
			stale = err
		}
	}
	if broken == nil {
		broken = stale
	}
	return broken
}

// exchange sends the commands and reads the replies.
func (s *session) exchange(ctx context.Context, c *conn, calls []*call) error {
	if len(calls) == 1 {
		c.Process(ctx, calls[0].cmd)
	} else {
		c.Pipelined(ctx, func(p redis.Pipeliner) error {
			for _, call := range calls {
				p.Process(ctx, call.cmd)
			}
			return nil
		})
	}
	for _, call := range calls {
		if err := call.cmd.Err(); err != nil && !isReply(err) {
			s.epoch++ // what the server runs late must not overtake what comes next
			return err
		}
	}
	return nil
}

func (s *session) failCall(c *call, err error) {
	maybe := !certainlyNotRun(err)
	for _, o := range c.ops {
		o.maybe = maybe
		if o.what == opGroup {
			o.err = unavailable(err) // finished by flush
			continue
		}
		o.finish(unavailable(err))
	}
}

func applyDelivered(c *call, reply any) {
	var err error
	switch reply {
	case int64(0):
		err = layer.ErrChannelGone
	case int64(-1):
		err = layer.ErrInboxFull
	}
	for _, o := range c.ops {
		o.finish(err)
	}
}

func applyDone(c *call, _ any) {
	for _, o := range c.ops {
		o.finish(nil)
	}
}

func (s *session) applyGroup(c *call, reply any) {
	values, _ := reply.([]any)
	if full := number(values, 0); full > 0 {
		s.l.drop(layer.DropFull, c.ops[0].where, int(full)*len(c.ops))
	}
}

func (s *session) applyQueue(c *call, reply any) {
	values, _ := reply.([]any)
	if expired := number(values, 0); expired > 0 {
		s.l.drop(layer.DropExpired, c.ops[0].where, int(expired))
	}
	for i, o := range c.ops {
		result := number(values, i+1)
		if o.what == opPush && result == 0 {
			o.finish(layer.ErrChannelFull)
			continue
		}
		if o.then != nil {
			o.then(nil, result)
		}
		if o.done != nil {
			o.done <- struct{}{}
		}
	}
}

// isReply reports whether the server answered.
func isReply(err error) bool {
	if err == redis.Nil {
		return true
	}
	_, ok := err.(redis.Error)
	return ok
}

func (l *Layer) waitingTTL() time.Duration { return 2 * l.options.Lease }
