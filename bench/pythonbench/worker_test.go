//go:build unix

package pythonbench

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/channellayer/channellayer/bench/internal/workers"
	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/redislayer/channelsredis"
)

// openCommand makes the worker's layer.
type openCommand struct {
	Layer    string // core or pubsub
	Addr     string
	Prefix   string
	Capacity int
	Window   windowCommand
}

// joinCommand makes members, each with a goroutine that receives.
type joinCommand struct {
	Groups  int // group g is groupName(g); 0 makes members without a group
	Members int // of each group
	Stamped int // if above 0, take the latency of so many messages at a time
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

// pacedCommand sends at an even rate.
type pacedCommand struct {
	Address  string
	Count    int
	Interval time.Duration
}

func groupName(g int) string { return fmt.Sprint("group.", g) }

// newMessage makes a message that a chat might send, as worker.py does.
func newMessage() layer.Message {
	const text = "A sentence of the length that people write when they talk to each other about the plans for their day."
	return layer.NewMessage(map[string]any{
		"type": "chat.message", "room": "the lobby", "name": "Ada Lovelace", "text": text, "at": time.Now().UnixNano(),
	})
}

// worker is one process of a fleet. It does one command after the other.
type worker struct {
	window    *window
	bus       layer.Layer
	latencies chan []int64 // in nanoseconds
}

func commands() workers.Commands {
	w := &worker{latencies: make(chan []int64, 1)}
	return workers.Commands{
		"open":    workers.Command(w.open),
		"join":    workers.Command(w.join),
		"send":    workers.Command(w.send),
		"paced":   workers.Command(w.paced),
		"collect": workers.Command(w.collect),
	}
}

func (w *worker) open(c openCommand) (_ workers.None, err error) {
	if w.window, err = openWindow(c.Window); err != nil {
		return workers.None{}, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	urls := []string{"redis://" + c.Addr}
	options := channelsredis.Options{Prefix: c.Prefix, Capacity: c.Capacity}
	if c.Layer == core {
		w.bus, err = channelsredis.OpenCore(ctx, urls, options)
	} else {
		w.bus, err = channelsredis.OpenPubSub(ctx, urls, options)
	}
	return workers.None{}, err
}

// join returns the members' addresses, if they are in no group.
func (w *worker) join(c joinCommand) (addresses []string, err error) {
	ctx := context.Background()
	for g := range max(c.Groups, 1) {
		for range c.Members {
			channel, err := w.bus.NewChannel(ctx, "")
			if err != nil {
				return nil, err
			}
			if c.Groups == 0 {
				addresses = append(addresses, channel)
			} else if err := w.bus.GroupAdd(ctx, groupName(g), channel); err != nil {
				return nil, err
			}
			// Each has a ctx of its own that can be cancelled, as a server has
			// one for each connection.
			member, cancel := context.WithCancel(ctx)
			go func() {
				defer cancel()
				if c.Stamped > 0 {
					w.receiveStamped(member, channel, c.Stamped)
				} else {
					w.receive(member, channel)
				}
			}()
		}
	}
	return addresses, nil
}

func (w *worker) receive(ctx context.Context, channel string) {
	for count := uint64(1); ; count++ {
		msg, err := w.bus.Receive(ctx, channel)
		if err == nil {
			err = looked(msg)
		}
		if err != nil {
			panic(err) // nothing here closes a layer or ends a ctx
		}
		w.window.got(count)
	}
}

// looked looks into a message, as Python has by then: a message is decoded when
// somebody first does.
func looked(msg layer.Message) error {
	if msg.Int("at") == 0 {
		return fmt.Errorf("received %v, which was not sent", msg.Map())
	}
	return nil
}

func (w *worker) receiveStamped(ctx context.Context, channel string, count int) {
	for {
		latencies := make([]int64, 0, count)
		for range count {
			msg, err := w.bus.Receive(ctx, channel)
			if err != nil {
				panic(err)
			}
			latencies = append(latencies, time.Now().UnixNano()-msg.Int("at"))
		}
		slices.Sort(latencies)
		w.latencies <- latencies
	}
}

func (w *worker) send(c sendCommand) (sendResult, error) {
	began := time.Now()
	w.window.begin(began.Add(c.For))
	var senders sync.WaitGroup
	for range c.Senders {
		senders.Go(func() {
			if err := w.sendUntilEnd(c); err != nil {
				w.window.fail(err)
			}
		})
	}
	senders.Wait()
	sent, err := w.window.end()
	return sendResult{sent, time.Since(began)}, err
}

func (w *worker) sendUntilEnd(c sendCommand) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	for w.window.mayBegin() {
		var err error
		if c.Address != "" {
			err = w.bus.Send(ctx, c.Address, newMessage())
		} else {
			err = w.bus.GroupSend(ctx, groupName(rand.IntN(c.Groups)), newMessage())
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (w *worker) paced(c pacedCommand) (workers.None, error) {
	tick := time.NewTicker(c.Interval)
	defer tick.Stop()
	for range c.Count {
		<-tick.C
		if err := w.bus.Send(context.Background(), c.Address, newMessage()); err != nil {
			return workers.None{}, err
		}
	}
	return workers.None{}, nil
}

// collect returns the latencies of a round, sorted.
func (w *worker) collect(workers.None) ([]int64, error) {
	select {
	case latencies := <-w.latencies:
		return latencies, nil
	case <-time.After(stallTime):
		return nil, errors.New("messages were lost")
	}
}
