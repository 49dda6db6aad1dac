//go:build unix

package redisbench

import (
	"context"
	"errors"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/channellayer/channellayer/bench/internal/workers"
	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/redislayer"
)

// What workers do for the benchmarks of large numbers: large_test.go.

// held is what so many channels or memberships cost a process.
type held struct {
	ChannelBytes    int64 // heap for the channels, without the strings of their names
	MembershipBytes int64 // heap for the memberships
	Resident        int64 // of the process, all in all
	Took            time.Duration
}

// joinCrowd makes members of one group that have no goroutine.
func (w *worker) joinCrowd(members int) (h held, err error) {
	before, began := heap(), time.Now()
	w.crowd = make([]member, members)
	for i := range w.crowd {
		if w.crowd[i], err = w.busses[0].join([]string{groupName(0)}); err != nil {
			return h, err
		}
	}
	h.Took = time.Since(began)
	h.MembershipBytes = heap() - before
	h.Resident = resident()
	return h, w.busses[0].ready(context.Background())
}

// receiveOne receives one message at every member of the crowd, and returns
// when the last one had it, in nanoseconds of the wall clock.
func (w *worker) receiveOne(workers.None) (int64, error) {
	const walkers = 4
	errs := make([]error, walkers)
	var walking sync.WaitGroup
	for i := range walkers {
		walking.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), stallTime)
			defer cancel()
			n := len(w.crowd)
			for _, m := range w.crowd[i*n/walkers : (i+1)*n/walkers] {
				if _, err := m.receive(ctx); err != nil {
					errs[i] = err
					return
				}
			}
		})
	}
	walking.Wait()
	return time.Now().UnixNano(), errors.Join(errs...)
}

// announce sends one message to the crowd's group, and returns when it began.
func (w *worker) announce(workers.None) (int64, error) {
	began := time.Now().UnixNano()
	return began, w.busses[0].groupSend(context.Background(), groupName(0))
}

// holdCommand makes a layer with so many channels, spread over the groups.
type holdCommand struct {
	Addr     string
	Prefix   string
	Channels int
	Groups   int
}

// gap is when the layer said that memberships are restored.
type gap struct {
	At     int64 // in nanoseconds of the wall clock
	Reason string
}

func (w *worker) hold(c holdCommand) (h held, err error) {
	ctx := context.Background()
	gaps := make(chan gap, 16)
	w.gaps = gaps
	l, err := redislayer.Open(ctx, "redis://"+c.Addr, redislayer.Options{
		Prefix: c.Prefix,
		Observer: layer.Observer{Gap: func(_, _ time.Time, reason string) {
			gaps <- gap{time.Now().UnixNano(), reason}
		}},
	})
	if err != nil {
		return h, err
	}
	names := make([]string, c.Channels)
	nameBytes := int64(0)
	before := heap()
	for i := range names {
		if names[i], err = l.NewChannel(ctx, ""); err != nil {
			return h, err
		}
		nameBytes += int64(len(names[i]))
	}
	h.ChannelBytes = heap() - before - nameBytes
	groups := make([]string, c.Groups)
	for g := range groups {
		groups[g] = groupName(g)
	}
	before, began := heap(), time.Now()
	for i, name := range names {
		if err := l.GroupAdd(ctx, groups[i%len(groups)], name); err != nil {
			return h, err
		}
	}
	h.Took = time.Since(began)
	h.MembershipBytes = heap() - before
	h.Resident = resident()
	runtime.KeepAlive(names)
	return h, nil
}

func (w *worker) awaitGap(workers.None) (gap, error) {
	select {
	case g := <-w.gaps:
		return g, nil
	case <-time.After(stallTime):
		return gap{}, errors.New("no gap was reported")
	}
}

func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// resident is the memory of this process, 0 where that cannot be read.
func resident() int64 {
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(text))
	pages, _ := strconv.ParseInt(fields[1], 10, 64)
	return pages * int64(os.Getpagesize())
}
