package faults

import (
	"fmt"
	"slices"
	"time"
)

// Account is the result of comparing what was sent with what was received.
type Account struct {
	Sends, NotSent, MaybeSent int // calls
	Received                  int // messages, by all channels
	Drops                     map[string]int
	Gaps                      int

	// Messages that were sent and are missing at a channel, but explained.
	ByGap, ByDrop int
	// Restored are repetitions that History.SetBack allows.
	Restored int

	// Every one of these is a broken promise.
	Duplicates  int // received twice, or by two readers
	Inversions  int // received after a later one of the same sender
	Crossed     int // received by a channel that it was not meant for
	Invented    int // never sent to that destination
	Undead      int // received although the send said that it was not sent
	Unclear     int // sends whose error did not tell the outcome
	Unexplained int // missing
	Baseless    int // gaps that overlap no fault

	// Findings describe the broken promises, the first of each kind.
	Findings []string
}

// Broken is the number of broken promises.
func (a *Account) Broken() int {
	return a.Duplicates + a.Inversions + a.Crossed + a.Invented + a.Undead + a.Unclear + a.Unexplained + a.Baseless
}

const maxFindings = 5 // of each kind

func (a *Account) broke(counter *int, format string, args ...any) {
	if *counter++; *counter <= maxFindings {
		a.Findings = append(a.Findings, fmt.Sprintf(format, args...))
	}
}

// Rate is how many sends began in a second, in these times taken together.
func (h *History) Rate(windows []Window) float64 {
	sent, passed := 0, time.Duration(0)
	for _, w := range windows {
		passed += time.Duration(w.To - w.From)
		for _, sends := range h.Sends {
			for _, s := range sends {
				if w.overlaps(s.Begin, s.Begin) {
					sent++
				}
			}
		}
	}
	return float64(sent) / passed.Seconds()
}

// Account compares what was sent with what was received.
func (h *History) Account() *Account {
	a := &Account{Drops: map[string]int{}, Gaps: len(h.Gaps)}
	for _, d := range h.Drops {
		a.Drops[d.Reason] += d.Count
	}
	h.countSends(a)
	h.checkGaps(a)
	h.explainMissing(a, h.checkReceipts(a))
	return a
}

func (h *History) countSends(a *Account) {
	for sender, sends := range h.Sends {
		a.Sends += len(sends)
		for number, s := range sends {
			switch s.Outcome {
			case NotSent:
				a.NotSent++
			case MaybeSent:
				a.MaybeSent++
			case Unclear:
				a.broke(&a.Unclear, "unclear: the error of %s did not tell its outcome", h.message(sender, number))
			}
		}
	}
}

func (h *History) message(sender, number int) string {
	s := h.Sends[sender][number]
	return fmt.Sprintf("message %d of sender %d to %s (%s)", number, sender, h.Destinations[s.Destination].Name,
		[]string{"accepted", "not sent", "maybe sent", "unclear"}[s.Outcome])
}

func (h *History) checkGaps(a *Account) {
	for _, g := range h.Gaps {
		if !slices.ContainsFunc(h.Faults, func(w Window) bool { return w.overlaps(g.From, g.To) }) {
			a.broke(&a.Baseless, "baseless: process %d reported a gap from %d to %d (%s), when there was no fault", g.Process, g.From, g.To, g.Reason)
		}
	}
}

// receivers tells which channels received a message: for each channel, a bit
// for each number of each sender.
type receivers [][]bits

type bits []uint64

func (b bits) has(i int) bool { return b[i/64]&(1<<(i%64)) != 0 }
func (b bits) set(i int)      { b[i/64] |= 1 << (i % 64) }

func (h *History) newBits() []bits {
	all := make([]bits, len(h.Sends))
	for sender, sends := range h.Sends {
		all[sender] = make(bits, len(sends)/64+1)
	}
	return all
}

// checkReceipts checks every message that was received, and returns by whom.
func (h *History) checkReceipts(a *Account) receivers {
	seen := make(receivers, len(h.Channels))
	taken := map[string][]bits{} // by normal channel: what any reader received
	for channel, receipts := range h.Receipts {
		seen[channel] = h.newBits()
		latest := slices.Repeat([]int{-1}, len(h.Sends))
		for _, r := range receipts {
			a.Received++
			if !h.checkOrigin(a, channel, r) {
				continue
			}
			once := seen[channel]
			normal := h.Destinations[r.Destination].Kind == Normal
			if normal {
				name := h.Destinations[r.Destination].Name
				if taken[name] == nil {
					taken[name] = h.newBits()
				}
				once = taken[name]
			}
			if once[r.Sender].has(r.Number) {
				if normal && h.SetBack {
					a.Restored++
				} else {
					a.broke(&a.Duplicates, "duplicate: %s received %s, which was received before", h.Channels[channel].Name, h.message(r.Sender, r.Number))
				}
				continue
			}
			once[r.Sender].set(r.Number)
			seen[channel][r.Sender].set(r.Number)
			if last := latest[r.Sender]; !normal && last > r.Number {
				a.broke(&a.Inversions, "inversion: %s received %s after %s", h.Channels[channel].Name, h.message(r.Sender, r.Number), h.message(r.Sender, last))
			}
			latest[r.Sender] = max(latest[r.Sender], r.Number)
		}
	}
	return seen
}

// checkOrigin reports whether a message was sent, to that channel.
func (h *History) checkOrigin(a *Account, channel int, r Receipt) bool {
	name := h.Channels[channel].Name
	if r.Sender < 0 || r.Sender >= len(h.Sends) || r.Number < 0 || r.Number >= len(h.Sends[r.Sender]) ||
		r.Destination != h.Sends[r.Sender][r.Number].Destination {
		a.broke(&a.Invented, "invented: %s received message %d of sender %d to destination %d, which was never sent", name, r.Number, r.Sender, r.Destination)
		return false
	}
	if !slices.Contains(h.Destinations[r.Destination].Channels, channel) {
		a.broke(&a.Crossed, "crossed: %s received %s", name, h.message(r.Sender, r.Number))
		return false
	}
	if h.Sends[r.Sender][r.Number].Outcome == NotSent {
		a.broke(&a.Undead, "undead: %s received %s", name, h.message(r.Sender, r.Number))
	}
	return true
}

// place is where drops are counted.
type place struct {
	process int
	name    string
}

// explainMissing looks for an explanation of every message that was accepted
// and is missing.
func (h *History) explainMissing(a *Account, seen receivers) {
	drops := map[place]int{}
	for _, d := range h.Drops {
		drops[place{d.Process, d.Name}] += d.Count
	}
	take := func(p place) bool {
		if drops[p] == 0 {
			return false
		}
		drops[p]--
		return true
	}
	for sender, sends := range h.Sends {
		for number, s := range sends {
			if s.Outcome != Accepted {
				continue
			}
			d := h.Destinations[s.Destination]
			has := func(channel int) bool { return seen[channel][sender].has(number) }
			if d.Kind == Normal {
				if !slices.ContainsFunc(d.Channels, has) {
					h.explainNormal(a, sender, number, take)
				}
				continue
			}
			missing, complete := map[int][]int{}, map[int]bool{} // by process
			for _, channel := range d.Channels {
				p := h.Channels[channel].Process
				if has(channel) {
					complete[p] = true
				} else {
					missing[p] = append(missing[p], channel)
				}
			}
			for p, channels := range missing {
				switch {
				case h.inGap(s, p):
					a.ByGap += len(channels)
				// A whole process may have lost it, by one counted drop: there,
				// or at the sender, which met an inbox without room.
				case d.Kind == Group && !complete[p] && (take(place{p, d.Name}) || take(place{h.Homes[sender], d.Name})):
					a.ByDrop += len(channels)
				default:
					for _, channel := range channels {
						if take(place{p, h.Channels[channel].Name}) {
							a.ByDrop++
							continue
						}
						a.broke(&a.Unexplained, "unexplained: %s, sent from %d to %d, did not reach %s of process %d", h.message(sender, number), s.Begin, s.End, h.Channels[channel].Name, p)
					}
				}
			}
		}
	}
}

func (h *History) explainNormal(a *Account, sender, number int, take func(place) bool) {
	s := h.Sends[sender][number]
	d := h.Destinations[s.Destination]
	for _, channel := range d.Channels {
		if h.inGap(s, h.Channels[channel].Process) {
			a.ByGap++
			return
		}
	}
	for _, channel := range d.Channels {
		if take(place{h.Channels[channel].Process, d.Name}) {
			a.ByDrop++
			return
		}
	}
	a.broke(&a.Unexplained, "unexplained: %s, sent from %d to %d, reached nobody", h.message(sender, number), s.Begin, s.End)
}

// inGap reports whether a process said that what was sent then may be lost.
func (h *History) inGap(s Send, process int) bool {
	return slices.ContainsFunc(h.Gaps, func(g Gap) bool {
		return g.Process == process && g.From <= s.End && s.Begin <= g.To
	})
}
