package layertest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/channellayer/channellayer/layer"
)

func loadChecks() []check {
	return []check{
		{Name: "Load/everything_counted", Both: true, Heavy: true, Run: checkLoad,
			Doc: "100,000 sends by 8 senders, with group sends, joins, leaves and cancelled receives all the while: no message is lost without being counted, duplicated, reordered, invented or delivered to the wrong channel."},
	}
}

const (
	loadSends    = 100_000
	loadSenders  = 8
	loadChannels = 24
	loadNormal   = 4 // the last of them are normal channels
	loadGroups   = 6
	// A fixed part of each group's members neither join nor leave during the
	// load: what they get is known exactly.
	loadFixed = 12
	// The channels between the fixed and the normal ones join and leave. They
	// are sent to by group only, since nobody can know how much they are due.
)

// load is one run. Every message says which sender made it, its number with
// that sender, and where it was sent.
type load struct {
	c              *checker
	reader, writer *proc
	channels       []string

	// What should arrive on channel i from sender s: written by the senders,
	// read when they have ended.
	sent    [loadSenders][loadChannels]int
	refused atomic.Int64 // sends that found a channel full

	boxes []loadBox
}

// loadBox is what has arrived on one channel.
type loadBox struct {
	mu   sync.Mutex
	last [loadSenders]int64
	seen map[int64]bool // sender and number in one
	loadCounts
}

type loadCounts struct {
	due        int // messages to a channel of which all is known
	transient  int // group messages to a channel that joins and leaves
	duplicated int
	reordered  int
	invented   int
	misplaced  int
}

func checkLoad(c *checker) {
	reader, writer := c.pair(layer.Limits{Capacity: 500})
	l := &load{c: c, reader: reader, writer: writer, channels: reader.mustNewChannels(loadChannels - loadNormal)}
	for i := range loadNormal {
		l.channels = append(l.channels, fmt.Sprint("jobs", i))
	}
	l.boxes = make([]loadBox, loadChannels)
	for i := range l.boxes {
		l.boxes[i].seen = map[int64]bool{}
	}
	for g := range loadGroups {
		for i := range loadFixed {
			if i%loadGroups <= g {
				reader.mustGroupAdd(loadGroup(g), l.channels[i])
			}
		}
	}
	total := loadSends
	if testing.Short() {
		total /= 10
	}
	stop := l.startReceivers()
	churn, stopChurn := l.startChurn()
	l.runSenders(total)
	stopChurn()
	c.wait(churn, 4*callLimit)
	l.awaitArrival()
	stop()
	l.report(total)
}

func loadGroup(g int) string { return fmt.Sprint("load", g) }

// inGroup reports whether channel i is a fixed member of group g.
func inGroup(i, g int) bool { return i < loadFixed && i%loadGroups <= g }

// transient reports whether channel i joins groups and leaves them.
func transient(i int) bool { return i >= loadFixed && i < loadChannels-loadNormal }

func (l *load) runSenders(total int) {
	seeds := l.c.random()
	var ends []chan struct{}
	for s := range loadSenders {
		rng := rand.New(rand.NewPCG(seeds.Uint64(), seeds.Uint64()))
		ends = append(ends, l.c.goroutine(fmt.Sprint("sender ", s), func() {
			for n := 1; n <= total/loadSenders && !l.c.stopped(); n++ {
				l.sendOne(s, n, rng)
			}
		}))
	}
	for _, end := range ends {
		l.c.wait(end, 4*callLimit)
	}
}

func (l *load) sendOne(s, n int, rng *rand.Rand) {
	if rng.IntN(20) == 0 {
		g := rng.IntN(loadGroups)
		if err := l.writer.layer.GroupSend(l.c.ctx, loadGroup(g), loadMessage(s, n, loadGroup(g))); err != nil {
			l.c.fatalf("GroupSend returned error %v", err)
		}
		for i := range loadFixed {
			if inGroup(i, g) {
				l.sent[s][i]++
			}
		}
		return
	}
	i := rng.IntN(loadFixed + loadNormal)
	if i >= loadFixed {
		i = loadChannels - 1 - (i - loadFixed)
	}
	err := l.writer.layer.Send(l.c.ctx, l.channels[i], loadMessage(s, n, l.channels[i]))
	switch {
	case err == nil:
		l.sent[s][i]++
	case errors.Is(err, layer.ErrChannelFull):
		l.refused.Add(1)
		runtime.Gosched() // lets receivers catch up
	default:
		l.c.fatalf("Send(%q) returned error %v, want nil or ErrChannelFull", l.channels[i], err)
	}
}

// memberOf reports whether channel i is a fixed member of the numbered group.
func memberOf(i int, number string) bool {
	g, err := strconv.Atoi(number)
	return err == nil && inGroup(i, g)
}

func loadMessage(s, n int, to string) layer.Message {
	return layer.NewMessage(map[string]any{"from": s, "n": n, "to": to})
}

// startReceivers has one goroutine receive on each channel, with a ctx that is
// cancelled now and then. Normal channels have two.
func (l *load) startReceivers() (stop func()) {
	ctx, cancel := context.WithCancel(l.c.ctx)
	var ends []chan struct{}
	for i, ch := range l.channels {
		receivers := 1
		if !layer.IsProcessSpecific(ch) {
			receivers = 2
		}
		for r := range receivers {
			seed := uint64(i*2 + r)
			ends = append(ends, l.c.goroutine("receiver on "+ch, func() { l.receive(ctx, i, rand.New(rand.NewPCG(l.c.seed, seed))) }))
		}
	}
	return func() {
		cancel()
		for _, end := range ends {
			l.c.wait(end, callLimit)
		}
	}
}

func (l *load) receive(ctx context.Context, i int, rng *rand.Rand) {
	buf := make([]layer.Message, 16)
	for ctx.Err() == nil {
		rctx, cancel := context.WithCancel(ctx)
		n, err := 0, error(nil)
		switch rng.IntN(8) {
		case 0: // cancelled at once, or nearly
			go cancel()
			fallthrough
		case 1, 2, 3, 4:
			buf[0], err = l.reader.layer.Receive(rctx, l.channels[i])
			n = 1
		default:
			n, err = layer.ReceiveBatch(rctx, l.reader.layer, l.channels[i], buf)
		}
		cancel()
		switch {
		case err == nil:
			l.boxes[i].arrived(l, i, buf[:n])
		case !errors.Is(err, context.Canceled):
			l.c.errorf("Receive(%q) returned error %v", l.channels[i], err)
			return
		}
	}
}

// arrived judges messages that came on channel i.
func (b *loadBox) arrived(l *load, i int, msgs []layer.Message) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, msg := range msgs {
		s, n, to := msg.Int("from"), msg.Int("n"), msg.String("to")
		if s < 0 || s >= loadSenders || n < 1 || n > loadSends || msg.Len() != 3 {
			b.invented++
			continue
		}
		switch group, byGroup := strings.CutPrefix(to, "load"); {
		case !byGroup && to == l.channels[i]:
			b.due++
		case byGroup && transient(i):
			b.transient++
		case byGroup && memberOf(i, group):
			b.due++
		default:
			b.misplaced++
		}
		if b.seen[s<<32|n] {
			b.duplicated++
		}
		b.seen[s<<32|n] = true
		// Two receivers on a normal channel note what they got in any order.
		if n < b.last[s] && layer.IsProcessSpecific(l.channels[i]) {
			b.reordered++
		}
		b.last[s] = n
	}
}

// startChurn has channels that are no fixed members join and leave.
func (l *load) startChurn() (done chan struct{}, stop func()) {
	ctx, cancel := context.WithCancel(l.c.ctx)
	rng := rand.New(rand.NewPCG(l.c.seed, 1<<40))
	return l.c.goroutine("joins and leaves", func() {
		for ctx.Err() == nil {
			ch := l.channels[loadFixed+rng.IntN(loadChannels-loadFixed-loadNormal)]
			group := loadGroup(rng.IntN(loadGroups))
			var err error
			if rng.IntN(2) == 0 {
				err = l.reader.layer.GroupAdd(ctx, group, ch)
			} else {
				err = l.reader.layer.GroupDiscard(ctx, group, ch)
			}
			if err != nil && !errors.Is(err, context.Canceled) {
				l.c.fatalf("joining or leaving %q returned error %v", group, err)
			}
		}
	}), cancel
}

// totals adds up what has arrived, and what of that which was due.
func (l *load) totals() (expected int, sum loadCounts) {
	for i := range l.boxes {
		b := &l.boxes[i]
		b.mu.Lock()
		sum.due += b.due
		sum.transient += b.transient
		sum.duplicated += b.duplicated
		sum.reordered += b.reordered
		sum.invented += b.invented
		sum.misplaced += b.misplaced
		b.mu.Unlock()
		for s := range loadSenders {
			expected += l.sent[s][i]
		}
	}
	return expected, sum
}

// dropped is how much of what was due the layers gave up, as they say.
func (l *load) dropped() (n int) {
	for i, ch := range l.channels {
		if transient(i) {
			continue
		}
		n += l.reader.seen.droppedOn(layer.DropFull, ch)
		if l.writer != l.reader {
			n += l.writer.seen.droppedOn(layer.DropFull, ch)
		}
	}
	return n
}

func (l *load) awaitArrival() {
	l.c.eventually(func() bool {
		expected, sum := l.totals()
		return expected == sum.due+l.dropped()
	})
	l.c.settle() // what comes too often comes now
}

func (l *load) report(total int) {
	expected, sum := l.totals()
	dropped := l.dropped()
	l.c.notef("%d sends: %d refused as full; %d deliveries due, %d made, %d dropped as full and counted; besides, %d to members that joined and left; lost %d, duplicated %d, reordered %d, invented %d, on a wrong channel %d",
		total, l.refused.Load(), expected, sum.due, dropped, sum.transient,
		expected-sum.due-dropped, sum.duplicated, sum.reordered, sum.invented, sum.misplaced)
	if expected != sum.due+dropped {
		l.c.brokenf(12, "%d messages were lost: %d were accepted, %d received, %d counted as dropped", expected-sum.due-dropped, expected, sum.due, dropped)
	}
	if sum.duplicated > 0 {
		l.c.brokenf(1, "%d messages came twice on one channel", sum.duplicated)
	}
	if sum.reordered > 0 {
		l.c.brokenf(2, "%d messages came after a later one of the same sender", sum.reordered)
	}
	if sum.invented > 0 {
		l.c.brokenf(3, "%d messages came that were never sent", sum.invented)
	}
	if sum.misplaced > 0 {
		l.c.brokenf(7, "%d messages came on a channel that they were not sent to", sum.misplaced)
	}
}
