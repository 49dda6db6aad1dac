package faults

import "time"

// Outcome is how a send ended.
type Outcome uint8

// The outcomes.
const (
	Accepted  Outcome = iota // no error
	NotSent                  // layer.ErrNotSent
	MaybeSent                // layer.ErrMaybeSent
	Unclear                  // an error that matches neither or both
)

// Kind is what kind of destination a message has.
type Kind uint8

// The kinds.
const (
	Direct Kind = iota // a process-specific channel
	Group
	Normal // a normal channel
)

// Destination is what messages are sent to.
type Destination struct {
	Name     string
	Kind     Kind
	Channels []int // that should receive what is sent to it; one of them, if it is Normal
}

// Channel is one reader: a process-specific channel, or one process's reader of
// a normal channel.
type Channel struct {
	Name    string
	Process int
}

// Send is one call of Send or GroupSend. Times are in nanoseconds of Unix time.
type Send struct {
	Destination int
	Outcome     Outcome
	Begin, End  int64
}

// Receipt is one message that a channel received.
type Receipt struct {
	Sender, Number, Destination int // as the message says; negative if it does not
}

// Drop is what a process counted as given up.
type Drop struct {
	Process int
	Reason  string
	Name    string // of the channel or group
	Count   int
}

// Gap is a gap that a process reported.
type Gap struct {
	Process  int
	From, To int64
	Reason   string
}

// Window is a time in which a fault lasted, recovery included.
type Window struct{ From, To int64 }

// NewWindow returns the window between two times.
func NewWindow(from, to time.Time) Window { return Window{from.UnixNano(), to.UnixNano()} }

func (w Window) overlaps(from, to int64) bool { return w.From <= to && from <= w.To }

// History is all that was sent and received in a run.
type History struct {
	Destinations []Destination
	Channels     []Channel
	Homes        []int       // the process of each sender
	Sends        [][]Send    // by sender, then number
	Receipts     [][]Receipt // by channel, in order
	Drops        []Drop
	Gaps         []Gap
	Faults       []Window

	// SetBack is whether a fault brought an older state of Redis back: then a
	// normal channel may repeat what it had given away before.
	SetBack bool
}
