package faults

import (
	"flag"
	"fmt"
	"runtime"
	"sort"
	"strings"
	"sync"
	"time"

	"github.com/channellayer/channellayer/redislayer"
)

var soak = flag.Duration("faults.soak", 0, "inject faults for this long, an equal part of it for each, after 1,000,000 messages without any")

const defaultTimeout = redislayer.DefaultTimeout

// lanes is how many faults are tested side by side: most of the time is spent
// waiting. But a sender has one message under way at a time, so the rate of
// sends falls with the time that processes wait for a processor. With three
// faults for each of two and the race detector on, no row came below 422 a
// second of the 480 that are tried; with other work of as much again one came
// down to 246, which is why .ci/run lets these tests run alone.
func lanes() int {
	if *soak > 0 {
		return 1
	}
	return 3 * runtime.NumCPU()
}

// row is what became of one fault.
type row struct {
	fault   string
	times   int
	account *Account
	worst   time.Duration // recovery
	bound   time.Duration
	rate    float64
	slowest time.Duration
	errors  []string
}

// enough reports whether a fault was injected often enough.
func (r row) enough(x fault, passed time.Duration) bool {
	if *soak > 0 && passed < *soak/time.Duration(len(allFaults)) {
		return false
	}
	return r.times >= x.times
}

// table collects rows.
type table struct {
	mu   sync.Mutex
	rows []row
}

func (t *table) add(r row) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.rows = append(t.rows, r)
}

// String is the table in Markdown.
func (t *table) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var b strings.Builder
	b.WriteString("| fault | times | sends a second before | sends | not sent | maybe | received | drops | gaps | missing, in a gap | missing, dropped | duplicates | inversions | crossed | invented | undead | unexplained | worst recovery | bound |\n")
	b.WriteString("|---|--:|--:|--:|--:|--:|--:|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n")
	for _, r := range t.rows {
		a := r.account
		bound := "-"
		if r.bound > 0 {
			bound = r.bound.String()
		}
		fmt.Fprintf(&b, "| %s | %d | %.0f | %d | %d | %d | %d | %s | %d | %d | %d | %d | %d | %d | %d | %d | %d | %v | %s |\n",
			r.fault, r.times, r.rate, a.Sends, a.NotSent, a.MaybeSent, a.Received, dropList(a.Drops), a.Gaps, a.ByGap, a.ByDrop,
			a.Duplicates, a.Inversions, a.Crossed, a.Invented, a.Undead, a.Unexplained, r.worst.Round(time.Millisecond), bound)
	}
	return b.String()
}

func dropList(drops map[string]int) string {
	var list []string
	for reason, n := range drops {
		list = append(list, fmt.Sprintf("%s %d", reason, n))
	}
	sort.Strings(list)
	return strings.Join(list, ", ")
}
