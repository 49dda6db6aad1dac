package channelsredis

import (
	"github.com/channellayer/channellayer/redislayer/internal/resp"
)

// callFor makes one call of operations of one kind on one key.
func (w *writer) callFor(ops []*op) *call {
	o, c := ops[0], w.c
	keys := []string{o.key}
	switch o.what {
	case opSend:
		w.filled[o.key] = c.now()
		args := make([]any, 0, 3+2*len(ops))
		args = append(args, c.expiryMicros(), c.queueTTL(), w.score)
		for _, o := range ops {
			args = append(args, o.capacity, o.body)
		}
		call := w.call(ops, w.applySend, sendScript.Words(keys, args...)...)
		call.hear, call.least = w.told, 4
		return call
	case opFan:
		return w.fanCall(ops)
	case opMembers:
		return w.membersCall(ops)
	case opAdd, opDiscard:
		args := []any{c.groupTTL(), c.groupExpiryMicros()}
		for _, o := range ops {
			what := "add"
			if o.what == opDiscard {
				what = "discard"
			}
			args = append(args, what, o.name)
		}
		return w.call(ops, applyDone, groupScript.Words(keys, args...)...)
	case opPrune:
		call := w.call(ops, w.applyPrune, pruneScript.Words(keys, c.expiryMicros())...)
		call.least = 2
		return call
	case opEnd:
		return w.call(ops, applyCount, endScript.Words(o.keys)...)
	case opUnblock:
		return w.call(ops, applyCount, "CLIENT", "UNBLOCK", o.id)
	}
	call := w.call(ops, applyDone, "TIME")
	call.hear, call.least = w.toldTime, 2
	return call
}

// call makes a call of one command.
func (w *writer) call(ops []*op, apply func(*call, []any), words ...any) *call {
	c := &call{ops: ops, from: len(w.out), replies: 1, left: 1, apply: apply}
	w.out = resp.AppendRequest(w.out, words...)
	c.to = len(w.out)
	return c
}

// membersCall makes the call that forgets the members of a group that have
// expired, by the server's own clock, and reads the others. Those are not read by
// the script, which would take several times as long: the server would make a
// value of each name for it.
func (w *writer) membersCall(ops []*op) *call {
	key := ops[0].key
	c := w.call(ops, w.applyMembers, pruneScript.Words([]string{key}, w.c.groupExpiryMicros())...)
	w.out = resp.AppendRequest(w.out, "ZRANGE", key, 0, -1)
	c.to, c.replies, c.left, c.asText, c.text = len(w.out), 2, 2, true, ops[0].known
	return c
}

// fanCall makes the call that brings messages of one group to its queues here.
func (w *writer) fanCall(ops []*op) *call {
	c, part, n := w.c, ops[0].fan.part, len(ops)
	args := make([]any, 0, 6+len(part.queues)*(n+1))
	args = append(args, c.expiryMicros(), c.queueTTL(), w.score, c.groupExpiryMicros(), ops[0].fan.digest, n)
	keys := append(make([]string, 0, 1+len(part.queues)), ops[0].key)
	for i, q := range part.queues {
		keys = append(keys, q.key)
		args = append(args, q.capacity)
		for _, o := range ops {
			args = append(args, o.fan.bodies[i])
		}
		w.filled[q.key] = c.now()
	}
	call := w.call(ops, w.applyFan, fanScript.Words(keys, args...)...)
	call.hear, call.least = w.told, 4
	return call
}
