package faults

import "time"

// A fleet speaks to its processes in lines of JSON: one command, one answer.

// command is what a process is told to do: the one field that is set.
type command struct {
	Open   *openCommand  `json:",omitempty"`
	Join   *joinCommand  `json:",omitempty"`
	Start  *startCommand `json:",omitempty"`
	Since  int64         `json:",omitempty"` // has every channel received from every sender what was sent since?
	Direct bool          `json:",omitempty"` // Since: leave out normal channels, whose readers share what comes
	Stop   bool          `json:",omitempty"` // stop sending
	Round  bool          `json:",omitempty"` // send one more message from each sender to each destination
	Finish string        `json:",omitempty"` // close, write the record to this file
}

// openCommand opens a layer.
type openCommand struct {
	URL       string   // of Redis, or
	Sentinels []string // its sentinels, or
	Master    string
	Nodes     []string          // of a Cluster
	Through   map[string]string // what to dial in place of an address of those

	Prefix         string
	Timeout, Lease time.Duration // 0: the defaults
	Channels       int           // to make
}

// joinCommand adds channels to groups.
type joinCommand struct {
	Groups, Channels []string
}

// startCommand starts receivers and senders.
type startCommand struct {
	Readers      map[int]string // by index in History.Channels
	Senders      []int
	AllSenders   int
	Destinations []Destination
	Local        []bool  // by destination: its one channel is in this process
	Order        []int   // destinations in the order in which each sender goes through them, again and again
	Rate         float64 // of each sender, in messages a second
	Limit        int     // of each sender; 0: none
}

// answer is what a process answers.
type answer struct {
	Error    string   `json:",omitempty"`
	Channels []string `json:",omitempty"` // Open: those made

	// Since
	Missing int    `json:",omitempty"` // pairs of channel and sender that have yet to meet
	Example string `json:",omitempty"` // one of them
	Met     int64  `json:",omitempty"` // when the last pair did

	Done bool `json:",omitempty"` // Since: all senders have reached the limit

	// Finish
	GoroutinesBefore, GoroutinesAfter int           `json:",omitempty"`
	Stacks                            string        `json:",omitempty"` // if there are more than before
	CloseTook                         time.Duration `json:",omitempty"`
}

// record is what a process writes to a file in the end.
type record struct {
	Sends    map[int][]Send    // by sender
	Receipts map[int][]Receipt // by channel
	Drops    []Drop
	Gaps     []Gap
	Errors   map[string]int // of sends, with their number
	Broken   []string       // what no process should see
	Slowest  time.Duration  // of all sends
}
