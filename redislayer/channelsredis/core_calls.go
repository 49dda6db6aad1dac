package channelsredis

import (
	"strconv"
	"time"

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
		call := w.call(ops, w.applySend, sendScript.words(keys, args...)...)
		call.hear = w.told
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
		return w.call(ops, applyDone, groupScript.words(keys, args...)...)
	case opPrune:
		return w.call(ops, w.applyPrune, pruneScript.words(keys, c.expiryMicros())...)
	case opEnd:
		return w.call(ops, applyCount, endScript.words(o.keys)...)
	case opUnblock:
		return w.call(ops, applyCount, "CLIENT", "UNBLOCK", o.id)
	}
	call := w.call(ops, applyDone, "TIME")
	call.hear = w.toldTime
	return call
}

// call makes a call of one command.
func (w *writer) call(ops []*op, apply func(*call, []any), words ...any) *call {
	c := &call{ops: ops, from: len(w.out), left: 1, apply: apply}
	w.out = resp.AppendRequest(w.out, words...)
	c.to = len(w.out)
	return c
}

// membersCall makes the call that forgets the members of a group that have
// expired, and reads the others. It is no script, which would take several times
// as long as the rest: the server would make a value of each name for it.
func (w *writer) membersCall(ops []*op) *call {
	key := ops[0].key
	expired := (w.c.now()+w.clock.Load())/int64(time.Microsecond) - w.c.groupExpiryMicros()
	c := w.call(ops, w.applyMembers, "ZREMRANGEBYSCORE", key, "-inf", seconds(expired))
	w.out = resp.AppendRequest(w.out, "ZRANGE", key, 0, -1)
	c.to, c.left, c.asText = len(w.out), 2, true
	return c
}

// seconds is a time in microseconds as a score.
func seconds(micros int64) string {
	return strconv.FormatFloat(float64(micros)/1e6, 'f', 6, 64)
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
	call := w.call(ops, w.applyFan, fanScript.words(keys, args...)...)
	call.hear = w.told
	return call
}
