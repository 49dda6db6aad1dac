package redislayer

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strconv"
	"time"

	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/layer/codec"
)

// inboxEntry is an entry of the inbox.
type inboxEntry struct {
	at       readPosition
	bytes    []byte // good until the next read
	messages int    // what its sender counted
	score    string // when it was accepted, in microseconds, if it comes from a queue
	control  bool
}

// handOver hands over what is in an entry. Its bytes may be anybody's: what
// cannot be read is counted, and the rest goes on.
func (r *reader) handOver(e inboxEntry) {
	l := r.l
	frames, late, err := r.framesOf(e)
	if err != nil {
		r.unreadable(e, err, e.messages)
		return
	}
	age := l.age(e)
	for n := 0; frames.more(); n++ {
		kind, nameBytes, body, err := frames.frameInPlace()
		if err != nil {
			r.unreadable(e, err, max(1, e.messages-n))
			return
		}
		name, ok := r.name(kind, nameBytes)
		switch {
		case !ok:
			r.unreadable(e, fmt.Errorf("%.100q is not a name for a frame of kind %d", name, kind), 1)
		case late && e.control:
			// Whoever asked was told that it failed, and may have asked for
			// the contrary since.
		case late:
			l.process.Drop(layer.DropLate, name, 1)
		case kind == kindRequest && e.control:
			l.requests.serve(name, body)
		case kind == kindReply && e.control:
			l.requests.answered(body)
		case kind == kindMark && e.control:
			mark, _ := binary.Uvarint(body)
			l.queues.marked(name, int(mark))
		case kind == kindWake && e.control && l.cluster != nil:
			l.cluster.lines.woken(name)
		case kind == kindChannel && !e.control:
			if msg, ok := l.decode(name, body); ok {
				l.process.Put(name, msg, age)
			}
		case kind == kindGroup && !e.control:
			if msg, ok := l.decode(name, body); ok {
				l.process.Deliver(name, msg, age)
			}
		case kind == kindQueue && e.score != "":
			if msg, ok := l.decode(name, body); ok {
				r.queued(name, msg, age, e)
			} else {
				l.queues.arrived(name)
			}
		default:
			r.unreadable(e, fmt.Errorf("a frame of kind %d is not known here, or not in such an entry", kind), 1)
		}
	}
}

// maxNames bounds how many names the reader keeps.
const maxNames = 1024

// named is a name that was found to be one for frames of a kind.
type named struct {
	kind kind
	name string
}

// name returns a frame's name, and whether it is one for that kind. Those that
// came lately are neither made nor looked at again.
func (r *reader) name(k kind, b []byte) (name string, ok bool) {
	if r.last.kind == k && r.last.name == string(b) {
		return r.last.name, true
	}
	known, ok := r.names[named{k, string(b)}]
	if !ok {
		known = named{k, string(b)}
		if !k.names(known.name) {
			return known.name, false
		}
		if len(r.names) >= maxNames {
			clear(r.names)
		}
		r.names[known] = known
	}
	r.last = known
	return known.name, true
}

// unreadable counts what cannot be read. If it came for a receiver of a normal
// channel, Redis took that one off the list; which it was is not known, so
// Redis is told all of them again.
func (r *reader) unreadable(e inboxEntry, err error, messages int) {
	r.l.undecodable(err, messages)
	if e.score != "" {
		r.l.queues.tellAll()
	}
}

// framesOf reads an entry up to its frames, and opens them if they are sealed.
// late is whether the sender has given the entry up.
func (r *reader) framesOf(e inboxEntry) (frames entryReader, late bool, err error) {
	entry := e.bytes
	frames.rest = entry
	h, err := frames.header()
	if err != nil {
		return frames, false, err
	}
	to := ""
	if e.control {
		to = r.l.name
	}
	if frames.rest, err = r.opener.open(h, entry[:len(entry)-len(frames.rest)], frames.rest, to); err != nil {
		return frames, false, err
	}
	return frames, e.score == "" && r.fenced(h), nil
}

// queued hands a normal channel's message to a receiver, or gives it back.
func (r *reader) queued(channel string, msg layer.Message, age time.Duration, e inboxEntry) {
	score, _ := strconv.ParseFloat(e.score, 64)
	// The server's clock is known to half a round trip, which Timeout bounds.
	sent := time.Now().Add(-age - r.l.options.Timeout/2)
	r.l.queues.came(channel, score, sent)
	switch {
	case age >= r.l.options.Limits.Expiry:
		r.l.process.Drop(layer.DropExpired, channel, 1)
		r.l.queues.arrived(channel)
	case r.l.process.Mailboxes().HandOver(channel, msg):
		r.l.queues.delivered(channel)
	default:
		r.l.queues.goesBack(channel, score, sent)
		r.l.queues.giveBack(channel, e.score, bytes.Clone(e.bytes))
		r.l.queues.arrived(channel)
	}
}

// epochMemory is for how long a sender's epoch is remembered: longer than a
// server could hold a command back.
const epochMemory = int64(10 * time.Minute)

// fenced reports whether the sender has, since it sent this, given up waiting
// for what it sent before: then this was run late, and may have been overtaken.
func (r *reader) fenced(h header) bool {
	seen := r.epochs[h.sender]
	if h.epoch < seen.highest {
		return true
	}
	now := r.l.now()
	if len(r.epochs) > 1000 && seen.seen == 0 {
		for sender, e := range r.epochs {
			if now-e.seen > epochMemory {
				delete(r.epochs, sender)
			}
		}
	}
	r.epochs[h.sender] = epoch{h.epoch, now}
	return false
}

// decode checks a message's bytes. What cannot be read, or is too large, is
// counted.
func (l *Layer) decode(name string, body []byte) (layer.Message, bool) {
	msg, err := codec.Decode(body)
	if err != nil {
		l.log.Debug("undecodable message", "for", name, "error", err)
	}
	return msg, l.process.Accept(name, msg, err)
}
