package layer

import (
	"strconv"
	"time"
)

// DropReason says why a message that was accepted was not delivered.
type DropReason uint8

// The reasons. Every message that a living process gives up is counted under
// exactly one of them.
const (
	DropFull        DropReason = iota // the receiving channel had no room
	DropExpired                       // it stayed unread for Limits.Expiry
	DropOversized                     // it came over the wire larger than MaxMessageSize
	DropUndecodable                   // its bytes could not be read
	DropLate                          // the broker ran a send after its successors, or after it was given up
	DropClosed                        // its channel was released, or the layer flushed or closed
	numDropReasons
)

var dropReasonNames = [numDropReasons]string{"full", "expired", "oversized", "undecodable", "late", "closed"}

// String returns the reason in one lower-case word, fit for a metric's label.
func (r DropReason) String() string {
	if r >= numDropReasons {
		return "DropReason(" + strconv.Itoa(int(r)) + ")"
	}
	return dropReasonNames[r]
}

// Observer is told what the layer could not deliver. Each field may be nil.
// The layer makes the calls without holding a lock, from the goroutine that
// met the event, possibly from several at once: they must not block, and
// should only count, or hand over to a goroutine of their own.
type Observer struct {
	// Dropped tells that count messages for the channel (or for the group,
	// where no channel is known; "" where neither is) were given up.
	Dropped func(reason DropReason, name string, count int)

	// Gap tells that messages sent between from and to may have been lost with
	// a connection, a broker or a process. It is called after memberships are
	// restored, and never without cause. Layers without a broker have no gaps.
	Gap func(from, to time.Time, reason string)

	// Abandoned tells that a process-specific channel was given up because a
	// message expired on it after nobody called Receive for the whole of
	// Limits.Expiry. Its memberships have ended.
	Abandoned func(channel string)
}

// Stats holds a layer's counters since it was made. They only grow.
type Stats struct {
	Sent      uint64 // Send calls that were accepted
	GroupSent uint64 // GroupSend calls that were accepted
	Received  uint64 // messages that Receive and ReceiveBatch returned
	Abandoned uint64 // channels given up unread (rule 6)
	Gaps      uint64 // gaps reported
	Dropped   Drops  // messages given up, by reason
}

// Drops counts messages by the reason for which they were given up. Index it
// with a [DropReason].
type Drops [numDropReasons]uint64

// Total is the number of messages given up for any reason.
func (d Drops) Total() uint64 {
	var n uint64
	for _, c := range d {
		n += c
	}
	return n
}
