package channelsredis

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/redislayer/channelsredis/internal/redisconn"
	"github.com/channellayer/channellayer/redislayer/internal/link"
	"github.com/channellayer/channellayer/redislayer/internal/lua"
	"github.com/channellayer/channellayer/redislayer/internal/resp"
)

// call is what a round trip has for one queue or group, and what the reply
// means.
type call struct {
	ops      []*op
	from, to int // its commands, in writer.out
	replies  int // how many there are; of two, the last one counts
	left     int // and how many are to come

	reply   any
	refused error  // the server's error
	text    string // in place of reply, if asText: it as it came, and before that the last one
	asText  bool
	least   int // how many values the reply has, at least, if it is a list

	// What is done with the reply: first who has the turn takes what is the
	// writer's, if there is that, and then the operations are finished.
	hear  func(reply []any)
	apply func(c *call, reply []any)
}

// Bounds of one script call. Lua takes no more than about 8,000 values at once,
// of which a message is two.
const (
	maxCallOps   = 1000
	maxCallBytes = 1 << 20
	maxEndKeys   = 1000

	keepOut = 4 << 20 // a larger buffer for commands is let go
)

func (o *op) size() int {
	n := len(o.body)
	if o.fan != nil {
		for _, body := range o.fan.bodies {
			n += body.Len()
		}
	}
	return n
}

// round runs the operations in one round trip. The error is that of the
// connection; every operation is finished whatever happens.
func (w *writer) round(ctx context.Context, conn *redisconn.Conn, ops []*op) error {
	calls := w.plan(ops)
	err := w.send(conn, calls)
	if err == nil {
		conn.Pipe.Extend(w.c.options.Timeout)
		err = receive(conn, calls)
	}
	return w.complete(ctx, conn, calls, err)
}

// send sends the commands of calls that were planned together.
func (w *writer) send(conn *redisconn.Conn, calls []*call) error {
	w.asked = w.c.now()
	return conn.Pipe.Write(w.out[calls[0].from:calls[len(calls)-1].to], w.c.options.Timeout)
}

// receive reads the replies that are to come. The error is that of the
// connection.
func receive(conn *redisconn.Conn, calls []*call) error {
	for _, c := range calls {
		for c.left > 0 {
			reply, err := conn.Pipe.Fetch()
			if err != nil {
				return err
			}
			if err := c.read(reply); err != nil {
				return err
			}
			c.left--
		}
	}
	return nil
}

// read takes a reply. The error means that it is none.
func (c *call) read(reply []byte) error {
	if c.asText && c.left == 1 && reply[0] == '*' {
		if string(reply) != c.text {
			c.text = string(reply)
		}
		return nil
	}
	value, err := resp.Read(reply)
	if refused, ok := err.(resp.Error); ok {
		c.refused = refused
		return nil
	}
	if values, is := value.([]any); err == nil && c.left == 1 && (c.asText || c.least > 0 && (!is || len(values) < c.least)) {
		err = errReply
	}
	c.reply = value
	return err
}

// complete finishes the operations of calls that were sent, of which the
// replies were read unless the connection broke.
func (w *writer) complete(ctx context.Context, conn *redisconn.Conn, calls []*call, broken error) error {
	if broken == nil {
		broken = w.callAgain(ctx, conn, calls)
	}
	for _, c := range calls {
		err := c.refused
		if err == nil && c.left > 0 {
			err = broken
		}
		if err == nil {
			if c.hear != nil {
				c.hear(c.list())
			}
			c.apply(c, c.list())
			continue
		}
		maybe := !link.CertainlyNotRun(err)
		stale := link.StaleServer(err)
		if isWrongType(err) {
			err = keyError(c.ops[0].key, err)
			maybe = false // scripts meet that, where they are refused for it, before they write
		}
		for _, o := range c.ops {
			o.maybe = maybe
			o.finish(redisconn.Unavailable(err))
		}
		if broken == nil && stale {
			broken = err
		}
	}
	return broken
}

// callAgain sends those calls again whose scripts the server has forgotten.
func (w *writer) callAgain(ctx context.Context, conn *redisconn.Conn, calls []*call) error {
	var forgotten []*call
	for _, c := range calls {
		if c.refused != nil && redis.HasErrorPrefix(c.refused, "NOSCRIPT") {
			forgotten = append(forgotten, c)
		}
	}
	if len(forgotten) == 0 {
		return nil
	}
	if err := loadScripts(ctx, conn); err != nil {
		return err
	}
	w.asked = w.c.now()
	for _, c := range forgotten {
		c.refused, c.left = nil, c.replies
		if err := conn.Pipe.Write(w.out[c.from:c.to], w.c.options.Timeout); err != nil {
			return err
		}
	}
	return receive(conn, forgotten)
}

func (c *call) list() []any {
	values, _ := c.reply.([]any)
	return values
}

// plan makes the calls: what goes to one queue or group in as few as possible.
func (w *writer) plan(ops []*op) []*call {
	if w.out = w.out[:0]; cap(w.out) > keepOut {
		w.out = nil
	}
	if len(ops) == 1 { // the common case of a lone sender
		return []*call{w.callFor(ops)}
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
		if o.what == opFan {
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
			calls = append(calls, w.callFor(bucket[:n]))
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

// told takes the times of a reply, which come first.
func (w *writer) told(reply []any) {
	if now := lua.Number(reply, 0); now > 0 {
		w.setClock(now)
	}
	w.score = max(w.score, lua.Number(reply, 1))
}

// toldTime takes the reply of TIME.
func (w *writer) toldTime(reply []any) {
	w.setClock(lua.Number(reply, 0)*int64(time.Second/time.Microsecond) + lua.Number(reply, 1))
}

func (w *writer) applySend(c *call, reply []any) {
	w.dropExpired(c.ops[0].key, lua.Number(reply, 2))
	full := list(reply, 3) // in order
	for i, o := range c.ops {
		if len(full) > 0 && lua.Number(full, 0) == int64(i) {
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

func (w *writer) applyFan(c *call, reply []any) {
	if lua.Number(reply, 2) == 1 {
		members := &roster{channels: texts(list(reply, 3))}
		for _, o := range c.ops {
			o.members = members
			o.finish(nil)
		}
		return
	}
	skipped, expired, bad := list(reply, 3), list(reply, 4), list(reply, 5)
	var unused error // of the first, if there are several
	for i, q := range c.ops[0].fan.part.queues {
		switch n := lua.Number(skipped, i); {
		case len(bad) > 1 && lua.Number(bad, 0) == int64(i):
			if why, _ := bad[1].(string); unused == nil {
				unused = keyError(q.key, resp.Error(why))
			}
			bad = bad[2:]
		case n > 0:
			w.c.dropFull(c.ops[0].name, q.channels, int(n))
		}
		w.dropExpired(q.key, lua.Number(expired, i))
	}
	for _, o := range c.ops {
		o.unused = unused
		o.finish(nil)
	}
}

// keyError is a server's refusal that has to do with a key, and names it.
func keyError(key string, refused error) error { return fmt.Errorf("key %q: %w", key, refused) }

func (w *writer) applyMembers(c *call, _ []any) {
	members := &roster{reply: c.text}
	for _, o := range c.ops {
		o.members = members
		o.finish(nil)
	}
}

func (w *writer) applyPrune(c *call, reply []any) {
	key := c.ops[0].key
	w.dropExpired(key, lua.Number(reply, 0))
	if lua.Number(reply, 1) == 0 {
		delete(w.filled, key)
	}
	applyDone(c, nil)
}

// dropExpired counts what a script has removed from a queue.
func (w *writer) dropExpired(key string, n int64) {
	if n > 0 {
		w.c.process.Drop(layer.DropExpired, w.c.channelOf(key), int(n))
	}
}

func applyCount(c *call, _ []any) {
	c.ops[0].count, _ = c.reply.(int64)
	applyDone(c, nil)
}

func applyDone(c *call, _ []any) {
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
	if err := w.round(ctx, conn, ops); err != nil {
		return err
	}
	maps.DeleteFunc(w.filled, func(_ string, at int64) bool { return at < before-int64(pruneGrace) })
	return nil
}
