package redislayer

import (
	"context"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/channellayer/channellayer/redislayer/internal/caller"
	"github.com/channellayer/channellayer/redislayer/internal/link"
	"github.com/channellayer/channellayer/redislayer/internal/lua"
	"github.com/channellayer/channellayer/redislayer/internal/resp"
)

// op is one operation that waits to be written.
type op struct {
	what  opKind
	where string // process, group or channel
	name  string // of the frame, if it is not where
	body  []byte
	score string // opBack: when the message was accepted
	count int    // opWait and opLeave: of receivers; opReset: the mark

	caller.Place // in session.queued

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
	request span
	ops     []*op
	groups  [][]*op // of a call for groups: ops, by the group
	apply   func(c *call, reply any)

	answered bool
	reply    any
	refused  error // the server's
}

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
		ops = finishWritten(ops, refused)
	}
	s.begin()
	calls := s.plan(ops)
	return s.complete(ctx, c, calls, s.exchange(c, calls))
}

// finishWritten finishes the operations that asked for no more than groups'
// entries.
func finishWritten(ops []*op, refused map[string]error) []*op {
	return slices.DeleteFunc(ops, func(o *op) bool {
		if o.what != opGroupEntry {
			return false
		}
		var err error
		if refusal := refused[o.where]; refusal != nil {
			err = unavailable(refusal)
		}
		o.finish(err)
		return true
	})
}

// exchange sends the calls' requests and reads the replies. The error is that
// of the connection.
func (s *session) exchange(c *conn, calls []*call) error {
	if err := s.send(c, calls); err != nil {
		return err
	}
	return receive(c, calls)
}

func (s *session) send(c *conn, calls []*call) error {
	if len(calls) == 0 {
		return nil
	}
	for i, call := range calls[1:] {
		if call.request.from != calls[i].request.to { // some of a round trip, once more
			return s.send(c, s.copied(calls))
		}
	}
	return c.Pipe.Write(s.out[calls[0].request.from:calls[len(calls)-1].request.to], s.l.options.Timeout)
}

// copied makes the calls' requests one after the other.
func (s *session) copied(calls []*call) []*call {
	for _, call := range calls {
		from := len(s.out)
		s.out = append(s.out, s.out[call.request.from:call.request.to]...)
		call.request = span{from, len(s.out)}
	}
	return calls
}

// keepBuffer is how large a buffer is kept for the next requests, at most.
const keepBuffer = 1 << 20

// begin makes room for the requests of a round trip.
func (s *session) begin() {
	s.out = s.out[:0]
	if cap(s.out) > keepBuffer {
		s.out, s.scratch = nil, nil
	}
}

// span is where in session.out a request is.
type span struct{ from, to int }

// request appends a request that runs a script.
func (s *session) request(script lua.Script, keys []string, args ...any) span {
	from := len(s.out)
	s.out = resp.AppendRequest(s.out, script.Words(keys, args...)...)
	return span{from, len(s.out)}
}

// receive reads the replies that are still to come.
func receive(c *conn, calls []*call) (broken error) {
	for _, call := range calls {
		if call.answered {
			continue
		}
		if call.reply, broken, call.refused = c.Pipe.Reply(); broken != nil {
			return broken
		}
		call.answered = true
	}
	return nil
}

// complete settles every call after its exchange, which ended with the error
// broken, and finishes every operation. If more has to be exchanged for that,
// it does that.
func (s *session) complete(ctx context.Context, c *conn, calls []*call, broken error) error {
	err := s.settle(ctx, c, calls, broken)
	// Normal channels in groups were learned of by the groups' calls.
	var more []*call
	for _, call := range calls {
		switch {
		case call.groups == nil:
		case err == nil:
			more = append(more, s.toNormalMembers(call)...)
		default:
			failNormalMembers(call, err)
		}
	}
	if err == nil {
		err = s.runCalls(ctx, c, more)
	}
	for _, call := range calls {
		if call.groups != nil {
			for _, o := range call.ops {
				o.finish(o.err)
			}
		}
	}
	return err
}

// isComplete reports whether complete would exchange no more.
func isComplete(calls []*call) bool {
	for _, call := range calls {
		if call.refused != nil && redis.HasErrorPrefix(call.refused, "NOSCRIPT") {
			return false
		}
		if values, _ := call.reply.([]any); call.groups != nil && len(values) > 0 {
			return false
		}
	}
	return true
}

// runCalls runs the calls in one round trip, and once more those for which the
// server had forgotten the script. The error is that of the connection; then
// what has no reply has an unknown outcome. It settles every call.
func (s *session) runCalls(ctx context.Context, c *conn, calls []*call) error {
	if len(calls) == 0 {
		return nil
	}
	return s.settle(ctx, c, calls, s.exchange(c, calls))
}

func (s *session) settle(ctx context.Context, c *conn, calls []*call, broken error) error {
	var forgotten []*call
	for _, call := range calls {
		if broken == nil && call.refused != nil && redis.HasErrorPrefix(call.refused, "NOSCRIPT") {
			forgotten = append(forgotten, call)
		}
	}
	if len(forgotten) > 0 {
		if broken = c.loadScripts(ctx); broken == nil {
			for _, call := range forgotten {
				call.answered = false
			}
			broken = s.exchange(c, forgotten)
		}
	}
	if broken != nil {
		s.epoch++ // what the server runs late must not overtake what comes next
	}
	for _, call := range calls {
		switch {
		case !call.answered:
			failCall(call, broken)
		case call.refused != nil:
			failCall(call, call.refused)
			if broken == nil && link.StaleServer(call.refused) {
				broken = call.refused
			}
		default:
			call.apply(call, call.reply)
		}
	}
	return broken
}

func failCall(c *call, err error) {
	maybe := !link.CertainlyNotRun(err)
	for _, o := range c.ops {
		o.maybe = maybe
		if c.groups != nil {
			o.err = unavailable(err) // finished by complete
			continue
		}
		o.finish(unavailable(err))
	}
}

func (l *Layer) waitingTTL() time.Duration { return 2 * l.options.Lease }
