package redislayer

import (
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/channellayer/channellayer/layer"
)

// task is what a lane does: one operation on one key, or on two at one place.
type task struct {
	kind  taskKind
	where string // process, group or normal channel: the tag of its keys
	name  string // of the frame; or the member of a group
	body  []byte
	frame kind // of a control entry

	incarnation string // taskRelay: of the inbox
	join        bool   // taskEntry and taskNormal: in or out
	request     *fetch // taskFetch
	parent      *task  // when nobody waits for that any more, this is not done

	state atomic.Int32

	// Only the lane that has it uses these.
	tries int
	ask   string // the address that it was redirected to for once

	err   error
	maybe bool          // beside an error: the server may have run it
	done  chan struct{} // nil if nobody waits

	// then is told of the end before done, on a lane's goroutine, with the
	// reply or nil.
	then func(t *task, reply any)
}

type taskKind byte

const (
	taskSend    taskKind = iota // a message to a channel of another process
	taskRelay                   // a message to a group, to the inbox of one process in it
	taskControl                 // a control entry
	taskMembers                 // who is in a group; then a relay or a push for each
	taskEntry                   // a group's entry for this process, or for one that is gone
	taskNormal                  // a normal channel's membership of a group
	taskPush                    // a message to a normal channel
	taskFetch                   // messages for this process from a normal channel
	taskGone                    // a process that waited for such has no inbox
	taskPrune                   // what expired in a normal channel
)

// States of a task.
const (
	taskQueued int32 = iota
	taskTaken        // by a lane
	taskLeft         // by who waited for it
)

// take reports whether the task is still to be done, and takes it.
func (t *task) take() bool {
	return (t.parent == nil || t.parent.state.Load() != taskLeft) && t.state.CompareAndSwap(taskQueued, taskTaken)
}

func (t *task) finish(err error, maybe bool, reply any) {
	t.err, t.maybe = err, maybe
	if t.then != nil {
		t.then(t, reply)
	}
	if t.done != nil {
		t.done <- struct{}{}
	}
}

// batch is what tasks have in common that go into one call.
type batch struct {
	kind               taskKind
	where, incarnation string
	ask                bool
}

func (t *task) batch() batch {
	b := batch{t.kind, t.where, t.incarnation, t.ask != ""}
	switch t.kind {
	case taskFetch, taskGone, taskPrune:
		b.kind = taskPush // all that is about one normal channel goes together
	}
	return b
}

// fillTasks returns how many of the tasks fit in one call.
func fillTasks(tasks []*task, capacity int) int {
	bytes, most := 0, maxEntryMessages
	switch tasks[0].kind {
	case taskSend, taskRelay: // an inbox takes or refuses an entry as a whole
		most = min(most, max(1, capacity/4))
	case taskEntry:
		most = 1
	}
	for i, t := range tasks {
		bytes += len(t.name) + len(t.where) + len(t.body)
		if i == most || i > 0 && bytes > maxEntryBytes {
			return i
		}
	}
	return len(tasks)
}

// callFor makes one call of tasks of one batch.
func (ln *lane) callFor(tasks []*task) *laneCall {
	l, first := ln.c.l, tasks[0]
	call := &laneCall{tasks: tasks, ask: first.ask != ""}
	inbox := []string{l.keys.inbox(first.where), l.keys.lease(first.where)}
	switch first.kind {
	case taskSend:
		call.script, call.keys, call.apply = relayScript, inbox, ln.delivered
		call.args = []any{ln.entry(tasks, kindChannel), len(tasks), l.options.InboxCapacity, l.options.InboxBytes, ""}
	case taskRelay:
		call.script, call.keys, call.apply = relayScript, inbox, ln.relayed
		call.args = []any{ln.entry(tasks, kindGroup), len(tasks), l.options.InboxCapacity, l.options.InboxBytes, first.incarnation}
	case taskControl:
		entry := ln.header()
		for _, t := range tasks {
			entry = appendFrame(entry, t.frame, t.name, t.body)
		}
		call.script, call.keys, call.apply = controlScript, inbox, ln.delivered
		call.args = []any{ln.sealer.seal(entry, first.where)}
	case taskMembers:
		call.script, call.keys, call.apply = membersScript, []string{l.keys.group(first.where)}, ln.spread
	case taskEntry:
		call.script, call.keys, call.apply = entryScript, []string{l.keys.group(first.where)}, ln.answered
		call.args = []any{joinOrLeave(first.join), first.name, l.groupTTL().Milliseconds()}
	case taskNormal:
		call.script, call.keys, call.apply = memberScript, []string{l.keys.group(first.where)}, ln.answered
		call.args = []any{l.options.Limits.GroupExpiry.Milliseconds(), l.groupTTL().Milliseconds()}
		for _, t := range tasks {
			call.args = append(call.args, joinOrLeave(t.join), normalMember(t.name))
		}
	default:
		call.script, call.apply = lineScript, ln.c.lines.answered
		call.keys = []string{l.keys.queue(first.where), l.keys.waiting(first.where), l.keys.aside(first.where)}
		call.args = ln.lineArgs(tasks)
	}
	return call
}

func (ln *lane) lineArgs(tasks []*task) []any {
	l, channel := ln.c.l, tasks[0].where
	args := []any{l.options.Limits.CapacityFor(channel), l.options.Limits.Expiry.Milliseconds(), l.waitingTTL().Milliseconds()}
	for _, t := range tasks {
		switch t.kind {
		case taskPush:
			ln.c.lines.filled(channel)
			args = append(args, "push", ln.sealer.seal(appendFrame(ln.header(), kindQueue, channel, t.body), ""), "", "")
		case taskFetch:
			numbers := fmt.Sprintf("%d %d", t.request.wanted, t.request.heard)
			for _, n := range t.request.back {
				numbers += " " + strconv.FormatInt(n, 10)
			}
			args = append(args, "fetch", l.name, t.request.id, numbers)
		case taskGone:
			args = append(args, "gone", t.name, "", "")
		case taskPrune:
			args = append(args, "prune", "", "", "")
		}
	}
	return args
}

func joinOrLeave(join bool) string {
	if join {
		return "join"
	}
	return "leave"
}

func (ln *lane) header() []byte {
	c := ln.c
	return header{c.l.name, c.epoch.Load(), c.sequence.Add(1)}.append(make([]byte, 0, 256))
}

func (ln *lane) entry(tasks []*task, k kind) []byte {
	entry := ln.header()
	for _, t := range tasks {
		entry = appendFrame(entry, k, t.name, t.body)
	}
	return ln.sealer.seal(entry, "")
}

func (ln *lane) delivered(call *laneCall, reply any) {
	err := inboxError(reply)
	for _, t := range call.tasks {
		t.finish(err, false, reply)
	}
}

func (ln *lane) answered(call *laneCall, reply any) {
	for _, t := range call.tasks {
		t.finish(nil, false, reply)
	}
}

// relayed removes a process that has no such inbox from the groups.
func (ln *lane) relayed(call *laneCall, reply any) {
	left := map[string]bool{}
	for _, t := range call.tasks {
		switch {
		case reply == int64(-1):
			ln.c.l.process.Drop(layer.DropFull, t.name, 1)
		case reply == int64(0) && !left[t.name]:
			left[t.name] = true
			ln.c.enqueue(&task{kind: taskEntry, where: t.name, name: processMember(t.where, t.incarnation)})
		}
		t.finish(nil, false, reply)
	}
}

// spread brings messages to the members of their group that are not in this
// process: a relay to each process, a push to each normal channel.
func (ln *lane) spread(call *laneCall, reply any) {
	members, _ := reply.([]any)
	for _, t := range call.tasks {
		s := &spreading{l: ln.c.l, t: t}
		var parts []*task
		for _, m := range members {
			if part := s.part(m); part != nil {
				parts = append(parts, part)
			}
		}
		s.left.Store(int32(len(parts)) + 1)
		for _, part := range parts {
			if err := ln.c.enqueue(part); err != nil {
				part.finish(err, false, nil)
			}
		}
		s.over() // nothing is finished before all is on its way
	}
}

// spreading is one message on its way to the members of a group.
type spreading struct {
	l    *Layer
	t    *task
	left atomic.Int32

	delivered, maybe atomic.Bool
	err              atomic.Pointer[error]
}

// part makes the task for one member, or nil for this process.
func (s *spreading) part(member any) *task {
	text, _ := member.(string)
	if text == "" {
		return nil
	}
	part := &task{body: s.t.body, parent: s.t, then: s.reached}
	if name := text[1:]; text[0] == 'n' {
		part.kind, part.where = taskPush, name
	} else {
		part.kind, part.name = taskRelay, s.t.where
		part.where, part.incarnation, _ = strings.Cut(name, "/")
		if part.where == s.l.name {
			return nil
		}
	}
	return part
}

// reached is told that a part has ended, and the reply to a relay.
func (s *spreading) reached(part *task, reply any) {
	switch {
	case part.err == nil:
		if part.kind == taskPush || reply == int64(1) { // otherwise the inbox is gone, or has no room
			s.delivered.Store(true)
		}
	case part.err == layer.ErrChannelFull:
		s.l.process.Drop(layer.DropFull, part.where, 1)
	default:
		s.err.Store(&part.err)
		if part.maybe {
			s.maybe.Store(true)
		}
	}
	s.over()
}

func (s *spreading) over() {
	if s.left.Add(-1) > 0 {
		return
	}
	if err := s.err.Load(); err != nil {
		s.t.finish(*err, s.maybe.Load() || s.delivered.Load(), nil)
		return
	}
	s.t.finish(nil, false, nil)
}
