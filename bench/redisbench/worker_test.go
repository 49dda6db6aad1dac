//go:build unix

package redisbench

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/channellayer/channellayer/bench/internal/workers"
)

// worker is one process of a fleet. It does one command after the other.
type worker struct {
	window    *window
	busses    []bus
	cancels   []context.CancelFunc // of members
	latencies chan []int64         // of stamped messages, in nanoseconds
	crowd     []member             // members without a goroutine
	gaps      chan gap             // that the layer of hold has reported
}

// openCommand opens busses, each of which is a process of its own for Redis.
type openCommand struct {
	Bus      string
	Addr     string
	Prefix   string
	Busses   int
	Capacity int // of each member
	Window   windowCommand
}

// joinCommand makes members, each with a goroutine that receives. They are
// spread over the worker's busses.
type joinCommand struct {
	Groups  int // group g is groupName(g); 0 makes members without a group
	Members int // of each group
	Stamped int // if above 0, receive so many stamped messages
}

// sendCommand sends as fast as the window lets.
type sendCommand struct {
	Address string // of a member; if empty, to random groups
	Groups  int
	Senders int
	For     time.Duration
}

// sendResult is what was sent, and how long it took until it was delivered.
type sendResult struct {
	Sent uint64
	Took time.Duration
}

// pacedCommand sends stamped messages at an even rate.
type pacedCommand struct {
	Address  string
	Count    int
	Interval time.Duration
}

func commands() workers.Commands {
	w := &worker{latencies: make(chan []int64, 1)}
	return workers.Commands{
		"open":      workers.Command(w.open),
		"join":      workers.Command(w.join),
		"send":      workers.Command(w.send),
		"paced":     workers.Command(w.paced),
		"latencies": workers.Command(w.collect),
		"check":     workers.Command(w.check),
		"crowd":     workers.Command(w.joinCrowd),
		"one":       workers.Command(w.receiveOne),
		"announce":  workers.Command(w.announce),
		"hold":      workers.Command(w.hold),
		"await gap": workers.Command(w.awaitGap),
	}
}

func (w *worker) open(c openCommand) (_ workers.None, err error) {
	if err := checkSize(); err != nil {
		return workers.None{}, err
	}
	if w.window, err = openWindow(c.Window); err != nil {
		return workers.None{}, err
	}
	for range c.Busses {
		b, err := openBus(c.Bus, c.Addr, c.Prefix, c.Capacity)
		if err != nil {
			return workers.None{}, err
		}
		w.busses = append(w.busses, b)
	}
	return workers.None{}, nil
}

// join returns the members' addresses, if they are in no group.
func (w *worker) join(c joinCommand) (addresses []string, err error) {
	next := 0
	add := func(groups ...string) (member, error) {
		m, err := w.busses[next%len(w.busses)].join(groups)
		next++
		if err != nil {
			return nil, err
		}
		ctx, cancel := context.WithCancel(context.Background()) // as a connection has
		w.cancels = append(w.cancels, cancel)
		if c.Stamped > 0 {
			go w.receiveStamped(ctx, m, c.Stamped)
		} else {
			go w.receive(ctx, m)
		}
		return m, nil
	}
	for g := range c.Groups {
		for range c.Members {
			if _, err := add(groupName(g)); err != nil {
				return nil, err
			}
		}
	}
	if c.Groups == 0 {
		for range c.Members {
			m, err := add()
			if err != nil {
				return nil, err
			}
			addresses = append(addresses, m.address())
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), stallTime)
	defer cancel()
	for _, b := range w.busses {
		if err := b.ready(ctx); err != nil {
			return nil, err
		}
	}
	return addresses, nil
}

func (w *worker) receive(ctx context.Context, m member) {
	var count uint64
	for {
		if _, err := m.receive(ctx); err != nil {
			panic(err) // nothing here closes a bus or ends a ctx
		}
		w.window.got(&count)
	}
}

func (w *worker) receiveStamped(ctx context.Context, m member, count int) {
	for {
		latencies := make([]int64, 0, count)
		for range count {
			p, err := m.receive(ctx)
			if err != nil {
				panic(err)
			}
			now := time.Now().UnixNano()
			latencies = append(latencies, now-p.sentAt())
		}
		w.latencies <- latencies
	}
}

func (w *worker) send(c sendCommand) (sendResult, error) {
	began := time.Now()
	w.window.begin(began.Add(c.For))
	sent := make([]uint64, c.Senders)
	var senders sync.WaitGroup
	for i := range sent {
		senders.Go(func() {
			if err := w.sendUntilEnd(c, &sent[i]); err != nil {
				w.window.fail(err)
			}
		})
	}
	senders.Wait()
	total := uint64(0)
	for _, n := range sent {
		total += n
	}
	err := w.window.end(total)
	return sendResult{total, time.Since(began)}, err
}

func (w *worker) sendUntilEnd(c sendCommand, sent *uint64) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	bus := w.busses[0]
	for w.window.mayBegin() {
		var err error
		if c.Address != "" {
			err = bus.send(ctx, c.Address)
		} else {
			err = bus.groupSend(ctx, groupName(rand.IntN(c.Groups)))
		}
		if err != nil {
			return err
		}
		*sent++
	}
	return nil
}

func (w *worker) paced(c pacedCommand) (workers.None, error) {
	tick := time.NewTicker(c.Interval)
	defer tick.Stop()
	for range c.Count {
		<-tick.C
		if err := w.busses[0].sendStamped(context.Background(), c.Address); err != nil {
			return workers.None{}, err
		}
	}
	return workers.None{}, nil
}

// collect returns the latencies of a round, sorted.
func (w *worker) collect(workers.None) ([]int64, error) {
	select {
	case latencies := <-w.latencies:
		slices.Sort(latencies)
		return latencies, nil
	case <-time.After(stallTime):
		return nil, errors.New("stamped messages were lost")
	}
}

// check reports what was dropped.
func (w *worker) check(workers.None) (workers.None, error) {
	for _, b := range w.busses {
		if dropped := b.dropped(); dropped != "" {
			return workers.None{}, errors.New(dropped)
		}
	}
	return workers.None{}, nil
}
