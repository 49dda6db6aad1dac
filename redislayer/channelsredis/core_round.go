package channelsredis

import (
	"context"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/redislayer/channelsredis/internal/redisconn"
)

// call is one command of a round trip and what its reply means.
type call struct {
	cmd   *redis.Cmd
	ops   []*op
	apply func(c *call, reply []any, value any)
}

// Bounds of one script call. Lua takes no more than about 8,000 values at once,
// of which a message is two.
const (
	maxCallOps   = 1000
	maxCallBytes = 1 << 20
	maxEndKeys   = 1000
)

func (o *op) size() int {
	n := len(o.body)
	if o.fan != nil {
		for _, body := range o.fan.bodies {
			n += len(body)
		}
	}
	return n
}

// round runs the operations in one round trip. The error is that of the
// connection; every operation is finished whatever happens.
func (w *writer) round(ctx context.Context, conn *redisconn.Conn, ops []*op) error {
	calls := w.plan(ctx, ops)
	w.asked = w.c.now()
	broken := exchange(ctx, conn, calls)
	var forgotten []*call
	for _, c := range calls {
		if broken == nil && redis.HasErrorPrefix(c.cmd.Err(), "NOSCRIPT") {
			forgotten = append(forgotten, c)
		}
	}
	if len(forgotten) > 0 {
		if broken = loadScripts(ctx, conn); broken == nil {
			for _, c := range forgotten {
				c.cmd = redis.NewCmd(ctx, c.cmd.Args()...)
			}
			w.asked = w.c.now()
			broken = exchange(ctx, conn, forgotten)
		}
	}
	for _, c := range calls {
		err := c.cmd.Err()
		if err != nil && err != redis.Nil {
			maybe := !redisconn.CertainlyNotRun(err)
			for _, o := range c.ops {
				o.maybe = maybe
				o.finish(redisconn.Unavailable(err))
			}
			if broken == nil && redisconn.StaleServer(err) {
				broken = err
			}
			continue
		}
		reply, _ := c.cmd.Val().([]any)
		c.apply(c, reply, c.cmd.Val())
	}
	return broken
}

// exchange sends the commands and reads the replies.
func exchange(ctx context.Context, conn *redisconn.Conn, calls []*call) error {
	if len(calls) == 1 {
		conn.Process(ctx, calls[0].cmd)
	} else {
		conn.Pipelined(ctx, func(p redis.Pipeliner) error {
			for _, c := range calls {
				p.Process(ctx, c.cmd)
			}
			return nil
		})
	}
	for _, c := range calls {
		if err := c.cmd.Err(); err != nil && !redisconn.IsReply(err) {
			return err
		}
	}
	return nil
}

// plan makes the calls: what goes to one queue or group in as few as possible.
func (w *writer) plan(ctx context.Context, ops []*op) []*call {
	if len(ops) == 1 { // the common case of a lone sender
		return []*call{w.callFor(ctx, ops)}
	}
	type place struct {
		what   opKind
		key    string
		part   *part
		digest string
	}
	at := map[place]int{} // mostly there are few
	var buckets [][]*op
	for _, o := range ops {
		p := place{what: o.what, key: o.key}
		switch o.what {
		case opDiscard:
			p.what = opAdd
		case opFan:
			p.part, p.digest = o.fan.part, o.fan.digest
		}
		i, ok := at[p]
		if !ok || o.what == opEnd || o.what == opUnblock {
			i = len(buckets)
			at[p] = i
			buckets = append(buckets, nil)
		}
		buckets[i] = append(buckets[i], o)
	}
	calls := make([]*call, 0, len(buckets))
	for _, bucket := range buckets {
		for len(bucket) > 0 {
			n := fill(bucket)
			calls = append(calls, w.callFor(ctx, bucket[:n]))
			bucket = bucket[n:]
		}
	}
	return calls
}

// fill returns how many of the operations fit in one call.
func fill(ops []*op) int {
	bytes := 0
	for i, o := range ops {
		bytes += o.size()
		if i == maxCallOps || i > 0 && bytes > maxCallBytes {
			return i
		}
	}
	return len(ops)
}

// callFor makes one call of operations of one kind on one key.
func (w *writer) callFor(ctx context.Context, ops []*op) *call {
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
		return &call{ops: ops, apply: w.applySend, cmd: sendScript.call(ctx, keys, args...)}
	case opFan:
		return w.fanCall(ctx, ops)
	case opMembers:
		return &call{ops: ops, apply: w.applyMembers, cmd: membersScript.call(ctx, keys, c.groupExpiryMicros())}
	case opAdd, opDiscard:
		args := []any{c.groupTTL()}
		for _, o := range ops {
			what := "add"
			if o.what == opDiscard {
				what = "discard"
			}
			args = append(args, what, o.name)
		}
		return &call{ops: ops, apply: applyDone, cmd: groupScript.call(ctx, keys, args...)}
	case opPrune:
		return &call{ops: ops, apply: w.applyPrune, cmd: pruneScript.call(ctx, keys, c.expiryMicros())}
	case opEnd:
		return &call{ops: ops, apply: applyCount, cmd: endScript.call(ctx, o.keys)}
	case opUnblock:
		return &call{ops: ops, apply: applyCount, cmd: redis.NewCmd(ctx, "CLIENT", "UNBLOCK", o.id)}
	}
	return &call{ops: ops, apply: w.applyTime, cmd: redis.NewCmd(ctx, "TIME")}
}

// fanCall makes the call that brings messages of one group to its queues here.
func (w *writer) fanCall(ctx context.Context, ops []*op) *call {
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
	return &call{ops: ops, apply: w.applyFan, cmd: fanScript.call(ctx, keys, args...)}
}

// told takes the times of a reply, which come first.
func (w *writer) told(reply []any) {
	if now := number(reply, 0); now > 0 {
		w.setClock(now)
	}
	w.score = max(w.score, number(reply, 1))
}

func (w *writer) applySend(c *call, reply []any, _ any) {
	w.told(reply)
	w.dropExpired(c.ops[0].key, number(reply, 2))
	full := list(reply, 3) // in order
	for i, o := range c.ops {
		if len(full) > 0 && number(full, 0) == int64(i) {
			full = full[1:]
			o.finish(errFull(o.name))
			continue
		}
		o.finish(nil)
	}
}

// errFull is the error of a send to a queue without room.
func errFull(channel string) error {
	if layer.IsProcessSpecific(channel) {
		return layer.ErrInboxFull
	}
	return layer.ErrChannelFull
}

func (w *writer) applyFan(c *call, reply []any, _ any) {
	w.told(reply)
	if number(reply, 2) == 1 {
		members := &roster{channels: texts(list(reply, 3))}
		for _, o := range c.ops {
			o.members = members
			o.finish(nil)
		}
		return
	}
	skipped, expired := list(reply, 3), list(reply, 4)
	for i, q := range c.ops[0].fan.part.queues {
		if n := number(skipped, i); n > 0 {
			w.c.dropFull(c.ops[0].name, q.channels, int(n))
		}
		w.dropExpired(q.key, number(expired, i))
	}
	for _, o := range c.ops {
		o.finish(nil)
	}
}

func (w *writer) applyMembers(c *call, reply []any, _ any) {
	w.told(reply[:min(1, len(reply))])
	members := &roster{channels: texts(list(reply, 1))}
	for _, o := range c.ops {
		o.members = members
		o.finish(nil)
	}
}

func (w *writer) applyPrune(c *call, reply []any, _ any) {
	key := c.ops[0].key
	w.dropExpired(key, number(reply, 0))
	if left := number(reply, 1); left == 0 || w.filled[key] < w.c.now()-int64(w.c.options.Expiry+pruneGrace) {
		delete(w.filled, key)
	}
	applyDone(c, nil, nil)
}

// dropExpired counts what a script has removed from a queue.
func (w *writer) dropExpired(key string, n int64) {
	if n > 0 {
		w.c.drop(layer.DropExpired, w.c.channelOf(key), int(n))
	}
}

func (w *writer) applyTime(c *call, reply []any, _ any) {
	w.setClock(number(reply, 0)*int64(time.Second/time.Microsecond) + number(reply, 1))
	applyDone(c, nil, nil)
}

func applyCount(c *call, _ []any, value any) {
	c.ops[0].count, _ = value.(int64)
	applyDone(c, nil, nil)
}

func applyDone(c *call, _ []any, _ any) {
	for _, o := range c.ops {
		o.finish(nil)
	}
}

func texts(values []any) []string {
	out := make([]string, len(values))
	for i, v := range values {
		out[i], _ = v.(string)
	}
	return out
}

// channelOf is the channel, or the process, that a queue's key is of.
func (c *Core) channelOf(key string) string { return strings.TrimPrefix(key, c.options.Prefix) }

// prune drops what has expired in the queues that this process filled and
// nobody may have looked at since: it sees to it that those messages are
// counted before Redis forgets the queue. A queue that has messages left is
// looked at again: they have the server's clock, or that of a sender which is
// ahead, and another process may have put some there since.
func (w *writer) prune(ctx context.Context, conn *redisconn.Conn) error {
	before := w.c.now() - int64(w.c.options.Expiry)
	var ops []*op
	for key, at := range w.filled {
		if at < before {
			ops = append(ops, &op{what: opPrune, key: key})
		}
	}
	if len(ops) == 0 {
		return nil
	}
	return w.round(ctx, conn, ops)
}
