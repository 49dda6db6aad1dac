package layertest

import (
	"fmt"
	"slices"
)

// model is what the contract says about one process in which one goroutine
// does everything, in the simplest form that can be written down. Its clock
// counts units of time.
type model struct {
	now      int
	sequence int // orders sends and receives at the same time
	channels []*modelChannel
	groups   []map[*modelChannel]int // when each membership ends

	sent, groupSent, received uint64
	full, late, abandoned     uint64 // late: expired, or ended with the channel
}

type modelChannel struct {
	name     string
	specific bool
	capacity int
	gone     bool
	unread   []modelMessage
	waiting  int // receivers

	lastReceive int // its sequence number
}

type modelMessage struct {
	id, at, sequence int
}

// The limits of the model check. No sum of the times that pass (4 and 9) comes
// closer to an expiry than the time that a slow machine may add.
const (
	modelExpiry      = 7
	modelGroupExpiry = 11
	modelShort       = 4
	modelLong        = 9
	modelCapacity    = 4
	modelSmall       = 2 // the capacity of the normal channel "small"
)

// pass lets time pass: messages expire, channels are abandoned, memberships
// end.
func (m *model) pass(units int) {
	m.now += units
	for _, ch := range m.channels {
		for len(ch.unread) > 0 && ch.unread[0].at+modelExpiry <= m.now {
			if ch.specific && ch.lastReceive < ch.unread[0].sequence {
				m.endChannel(ch)
				m.abandoned++
				break
			}
			ch.unread = ch.unread[1:]
			m.late++
		}
	}
	for _, group := range m.groups {
		for ch, end := range group {
			if end <= m.now {
				delete(group, ch)
			}
		}
	}
}

// endChannel is the end of a channel: released or abandoned.
func (m *model) endChannel(ch *modelChannel) {
	ch.gone = true
	m.late += uint64(len(ch.unread))
	ch.unread, ch.waiting = nil, 0
	for _, group := range m.groups {
		delete(group, ch)
	}
}

// The outcomes of a send, in the model.
type modelOutcome int

const (
	accepted modelOutcome = iota
	handedOver
	refusedFull
	refusedGone
)

func (m *model) put(ch *modelChannel, id int) modelOutcome {
	m.sequence++
	switch {
	case ch.gone:
		return refusedGone
	case ch.waiting > 0:
		ch.waiting--
		m.received++
		return handedOver
	case len(ch.unread) >= ch.capacity:
		return refusedFull
	}
	ch.unread = append(ch.unread, modelMessage{id, m.now, m.sequence})
	return accepted
}

// groupPut returns the members that a receiver of which has got the message.
func (m *model) groupPut(group, id int) (handed []*modelChannel) {
	m.groupSent++
	for ch := range m.groups[group] {
		switch m.put(ch, id) {
		case handedOver:
			handed = append(handed, ch)
		case refusedFull:
			m.full++
		}
	}
	return handed
}

// take removes the n oldest messages.
func (m *model) take(ch *modelChannel, n int) {
	m.received += uint64(n)
	ch.unread = ch.unread[n:]
}

// receiving notes a call of Receive, and the end of one that waited.
func (m *model) receiving(ch *modelChannel) {
	m.sequence++
	ch.lastReceive = m.sequence
}

// modelOp is one step of a run. It means something whatever was done before,
// so that steps can be left out of a run to find a shorter one that fails.
type modelOp struct {
	kind           modelKind
	channel, group int
}

type modelKind int

const (
	doSend modelKind = iota
	doGroupSend
	doReceive
	doReceiveBatch
	doWait
	doCancel
	doAdd
	doDiscard
	doRelease
	doNewChannel
	doPassShort
	doPassLong
	modelKinds
)

var modelKindNames = [modelKinds]string{"Send", "GroupSend", "Receive", "ReceiveBatch", "start a Receive that waits", "cancel a Receive that waits",
	"GroupAdd", "GroupDiscard", "Release", "NewChannel", "time passes", "more time passes"}

// modelWeights is how often each kind of step occurs.
var modelWeights = [modelKinds]int{24, 14, 18, 5, 5, 3, 14, 5, 2, 4, 6, 2}

func (op modelOp) String() string {
	name := modelKindNames[op.kind]
	channel, group := fmt.Sprint("channel ", op.channel), fmt.Sprint("group ", op.group)
	switch op.kind {
	case doGroupSend:
		return name + " to " + group
	case doAdd, doDiscard:
		return name + " " + group + ", " + channel
	case doPassShort:
		return fmt.Sprintf("%s: %d units", name, modelShort)
	case doPassLong:
		return fmt.Sprintf("%s: %d units", name, modelLong)
	}
	return name + " on " + channel
}

const (
	modelSpecific = 3 // channels 0 to 2 are process-specific, the others normal
	modelChannels = 5
	modelGroups   = 3
)

// shrink leaves out steps as long as the rest still fails, for at most the
// given number of attempts.
func shrink(ops []modelOp, attempts int, fails func([]modelOp) bool) []modelOp {
	for size := len(ops) / 2; size > 0; {
		shorter := false
		for at := 0; at < len(ops) && attempts > 0; {
			attempts--
			rest := slices.Delete(slices.Clone(ops), at, min(at+size, len(ops)))
			if fails(rest) {
				ops, shorter = rest, true
			} else {
				at += size
			}
		}
		if !shorter || size > 1 {
			size /= 2
		}
	}
	return ops
}
