package redislayer

import (
	"encoding/binary"
	"slices"

	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/redislayer/internal/lua"
	"github.com/channellayer/channellayer/redislayer/internal/resp"
)

// Bounds of one entry. A larger message travels alone.
const (
	maxEntryMessages = 256
	maxEntryBytes    = 64 << 10
)

// Bounds of what one script has to do for groups: others wait meanwhile.
const (
	maxCallGroups = 1000
	maxCallBytes  = 1 << 20
)

// plan makes the calls: everything for one destination in as few as possible,
// and everything for groups in one.
func (s *session) plan(ops []*op) []*call {
	if len(ops) == 0 {
		return nil
	}
	if len(ops) == 1 && ops[0].what != opGroup { // the common case of a lone sender
		return []*call{s.callFor(ops)}
	}
	var calls []*call
	var groups [][]*op
	size := 0
	for _, bucket := range sorted(ops) {
		for len(bucket) > 0 {
			n, bytes := s.fill(bucket)
			part := bucket[:n:n]
			bucket = bucket[n:]
			if part[0].what != opGroup {
				calls = append(calls, s.callFor(part))
				continue
			}
			if len(groups) == maxCallGroups || size > 0 && size+bytes > maxCallBytes {
				calls = append(calls, s.groupsCall(groups))
				groups, size = nil, 0
			}
			groups, size = append(groups, part), size+bytes
		}
	}
	if len(groups) > 0 {
		calls = append(calls, s.groupsCall(groups))
	}
	return calls
}

// sorted puts together what has one destination.
func sorted(ops []*op) (buckets [][]*op) {
	first := ops[0]
	if !slices.ContainsFunc(ops, func(o *op) bool { return o.what != first.what || o.where != first.where }) {
		return [][]*op{ops}
	}
	type place struct {
		what  opKind
		where string
	}
	at := map[place]int{}
	var last place // of the bucket i: neighbours often have one destination
	i := -1
	for _, o := range ops {
		p := place{o.what, o.where}
		switch o.what {
		case opBack, opWait, opLeave, opReset, opPrune:
			p.what = opPush // all that is about one normal channel goes together
		case opLeaveGroup:
			p.what = opJoin
		}
		if i < 0 || p != last {
			known := false
			if i, known = at[p]; !known {
				i = len(buckets)
				at[p] = i
				buckets = append(buckets, nil)
			}
			last = p
		}
		buckets[i] = append(buckets[i], o)
	}
	return buckets
}

// fill returns how many of the operations fit in one entry, and about how many
// bytes they have.
func (s *session) fill(ops []*op) (n, bytes int) {
	most := s.mostInEntry()
	for i, o := range ops {
		more := len(o.name) + len(o.where) + len(o.body)
		if i == most || i > 0 && bytes+more > maxEntryBytes {
			return i, bytes
		}
		bytes += more
	}
	return len(ops), bytes
}

// mostInEntry is how many messages an entry has at most. An inbox takes or
// refuses an entry as a whole, so a small inbox gets small ones.
func (s *session) mostInEntry() int {
	return min(maxEntryMessages, max(1, s.l.options.InboxCapacity/4))
}

// callFor makes one call of operations of one kind for one destination.
func (s *session) callFor(ops []*op) *call {
	l, where := s.l, ops[0].where
	switch ops[0].what {
	case opSend:
		entry := s.entry(ops, kindChannel)
		return &call{ops: ops, apply: applyDelivered, request: s.request(deliverScript, []string{l.keys.inbox(where), l.keys.lease(where)},
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
		return &call{ops: ops, apply: applyDelivered, request: s.request(controlScript, []string{l.keys.inbox(where), l.keys.lease(where)},
			s.sealer.seal(entry, where))}
	case opJoin, opLeaveGroup:
		return s.joinCall(ops)
	case opTrim:
		read := l.reader.progress()
		return &call{ops: ops, apply: applyDone, request: s.request(trimScript, []string{l.keys.inbox(l.name), l.keys.lease(l.name)},
			s.incarnation.Load(), read.next().String(), read.messages, read.bytes)}
	case opPing:
		from := len(s.out)
		s.out = resp.AppendRequest(s.out, "PING")
		return &call{ops: ops, apply: applyDone, request: span{from, len(s.out)}}
	}
	return s.queueCall(ops)
}

func (s *session) header() []byte {
	s.sequence++
	return header{s.l.name, s.epoch, s.sequence}.append(make([]byte, 0, 64))
}

// entry makes an entry of messages. It is good until the next is made.
func (s *session) entry(ops []*op, k kind) []byte {
	s.sequence++
	s.scratch = appendFrames(header{s.l.name, s.epoch, s.sequence}.append(s.scratch[:0]), k, ops)
	return s.sealer.seal(s.scratch, "")
}

// appendFrames appends a frame for each message.
func appendFrames(entry []byte, k kind, ops []*op) []byte {
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
	return entry
}

// groupsCall makes one call of the messages to many groups. The script makes
// the entries, one for each process: only Redis knows who is in which group.
func (s *session) groupsCall(groups [][]*op) *call {
	l := s.l
	if len(groups) == 1 {
		ops := groups[0]
		entry := s.entry(ops, kindGroup)
		return &call{ops: ops, groups: groups, apply: s.applyGroups, request: s.request(groupScript, []string{l.keys.group(ops[0].where)},
			entry, len(ops), l.options.InboxCapacity, l.options.InboxBytes, l.name, l.keys.inboxes(), l.keys.leases())}
	}
	ops := slices.Concat(groups...)
	head := s.header()
	keys := make([]string, len(groups))
	args := make([]any, 0, 8+2*len(groups))
	args = append(args, head, s.mostInEntry(), maxEntryBytes, l.options.InboxCapacity, l.options.InboxBytes,
		l.name, l.keys.inboxes(), l.keys.leases())
	for i, group := range groups {
		keys[i] = l.keys.group(group[0].where)
		frames := s.sealer.sealFrames(head, appendFrames(nil, kindGroup, group), "")
		args = append(args, len(group), frames)
	}
	s.sequence += uint64(len(groups) - 1) // it also counts what was sealed with one key
	return &call{ops: ops, groups: groups, apply: s.applyGroups, request: s.request(groupsScript, keys, args...)}
}

// queueCall makes the call for operations on one normal channel.
func (s *session) queueCall(ops []*op) *call {
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
			args = append(args, "wait", l.name, o.count)
		case opLeave:
			args = append(args, "leave", l.name, o.count)
		case opReset:
			mark := appendFrame(s.header(), kindMark, channel, binary.AppendUvarint(nil, uint64(o.count)))
			args = append(args, "reset", l.name, s.sealer.seal(mark, l.name))
		case opPrune:
			args = append(args, "prune", "", "")
		}
	}
	return &call{ops: ops, apply: s.applyQueue, request: s.request(queueScript, []string{l.keys.queue(channel), l.keys.waiting(channel)}, args...)}
}

// toNormalMembers makes the calls that bring groups' messages to the normal
// channels in them.
func (s *session) toNormalMembers(c *call) []*call {
	if c.refused != nil || !c.answered {
		return nil
	}
	var calls []*call
	for i, what := range groupReply(c) {
		channel, _ := what.(string)
		if channel == "" {
			continue
		}
		var pushes []*op
		for _, o := range c.groups[i] {
			pushes = append(pushes, &op{what: opPush, where: channel, body: o.body, then: func(err error, _ int64) {
				switch {
				case err == nil:
				case err == layer.ErrChannelFull:
					s.l.process.Drop(layer.DropFull, channel, 1)
				default:
					o.err, o.maybe = err, true
				}
			}})
		}
		calls = append(calls, s.queueCall(pushes))
	}
	return calls
}

// failNormalMembers fails the messages to those groups that have normal
// channels, which do not get them.
func failNormalMembers(c *call, err error) {
	for i, what := range groupReply(c) {
		if _, ok := what.(string); ok {
			for _, o := range c.groups[i] {
				o.err, o.maybe = unavailable(err), true
			}
		}
	}
}

// groupReply iterates over what a call for groups has to tell: the index of a
// group, with the number of messages that inboxes had no room for, or with the
// name of a normal channel in it, or with an error of its keys.
func groupReply(c *call) func(yield func(int, any) bool) {
	return func(yield func(int, any) bool) {
		values, _ := c.reply.([]any)
		for i := 0; i+1 < len(values); i += 2 {
			group := lua.Number(values, i) - 1
			if group < 0 || group >= int64(len(c.groups)) || !yield(int(group), values[i+1]) {
				return
			}
		}
	}
}

// inboxError is what a send failed with, given the reply of the script that was to
// add it to an inbox: deliverScript, or relayScript.
func inboxError(reply any) error {
	switch reply {
	case int64(0):
		return layer.ErrChannelGone
	case int64(-1):
		return layer.ErrInboxFull
	}
	return nil
}

func applyDelivered(c *call, reply any) {
	err := inboxError(reply)
	for _, o := range c.ops {
		o.finish(err)
	}
}

func applyDone(c *call, _ any) {
	for _, o := range c.ops {
		o.finish(nil)
	}
}

func (s *session) applyGroups(c *call, _ any) {
	for i, what := range groupReply(c) {
		switch what := what.(type) {
		case int64:
			s.l.process.Drop(layer.DropFull, c.groups[i][0].where, int(what))
		case resp.Error:
			for _, o := range c.groups[i] {
				o.err, o.maybe = unavailable(what), true
			}
		}
	}
}

func (s *session) applyQueue(c *call, reply any) {
	values, _ := reply.([]any)
	if expired := lua.Number(values, 0); expired > 0 {
		s.l.process.Drop(layer.DropExpired, c.ops[0].where, int(expired))
	}
	for i, o := range c.ops {
		result := lua.Number(values, i+1)
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
