package faults

import (
	"bufio"
	"context"
	"encoding/gob"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/redislayer"
)

// worker is one process of a fleet.
type worker struct {
	baseline int // goroutines before Open
	bus      *redislayer.Layer
	client   redis.UniversalClient
	plan     startCommand

	readers   []*reader
	receiving sync.WaitGroup
	stopRead  context.CancelFunc

	senders  []*sender
	sending  sync.WaitGroup
	stopSend context.CancelFunc

	mu     sync.Mutex
	record record
	drops  map[Drop]int // with Count 0
}

// Work is the main function of a process in a fleet: it does what it is told on
// in and answers on out, until in ends.
func Work(in io.Reader, out io.Writer) error {
	w := &worker{
		baseline: runtime.NumGoroutine(),
		record:   record{Sends: map[int][]Send{}, Receipts: map[int][]Receipt{}, Errors: map[string]int{}},
		drops:    map[Drop]int{},
	}
	lines, answers := bufio.NewReader(in), json.NewEncoder(out)
	for {
		line, err := lines.ReadBytes('\n')
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		var c command
		if err := json.Unmarshal(line, &c); err != nil {
			return err
		}
		a, err := w.do(c)
		if err != nil {
			a.Error = err.Error()
		}
		if err := answers.Encode(a); err != nil {
			return err
		}
	}
}

func (w *worker) do(c command) (a answer, err error) {
	switch {
	case c.Open != nil:
		a.Channels, err = w.open(*c.Open)
	case c.Join != nil:
		err = w.join(*c.Join)
	case c.Start != nil:
		w.start(*c.Start)
	case c.Since != 0:
		a = w.since(c.Since, c.Direct)
	case c.Stop:
		w.stopSend()
		w.sending.Wait()
	case c.Round:
		err = w.round()
	case c.Finish != "":
		a, err = w.finish(c.Finish)
	}
	return a, err
}

// channelCapacity is so large that no receiver is too slow, also on a machine
// that is busy.
const channelCapacity = 10_000

func (w *worker) open(c openCommand) ([]string, error) {
	switch {
	case c.URL != "":
		o, err := redis.ParseURL(c.URL)
		if err != nil {
			return nil, err
		}
		w.client = redis.NewClient(o)
	case c.Nodes != nil:
		w.client = redis.NewClusterClient(&redis.ClusterOptions{
			Addrs: c.Nodes, MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
			Dialer: func(ctx context.Context, network, addr string) (net.Conn, error) {
				if proxy, ok := c.Through[addr]; ok {
					addr = proxy
				}
				var d net.Dialer
				return d.DialContext(ctx, network, addr)
			},
		})
	default:
		w.client = redis.NewFailoverClient(&redis.FailoverOptions{MasterName: c.Master, SentinelAddrs: c.Sentinels})
	}
	var err error
	w.bus, err = redislayer.New(w.client, redislayer.Options{
		Limits:   layer.Limits{Capacity: channelCapacity},
		Observer: layer.Observer{Dropped: w.dropped, Gap: w.gap},
		Prefix:   c.Prefix, Timeout: c.Timeout, Lease: c.Lease,
	})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := w.connected(ctx); err != nil {
		return nil, err
	}
	names := make([]string, c.Channels)
	for i := range names {
		if names[i], err = w.bus.NewChannel(ctx, ""); err != nil {
			return nil, err
		}
	}
	return names, nil
}

// connected waits until the layer's own connection is good: one that is deaf may
// not have been found out yet.
func (w *worker) connected(ctx context.Context) error {
	for w.bus.Ping(ctx) != nil {
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			return errors.New("the layer does not connect")
		}
	}
	return nil
}

func (w *worker) join(c joinCommand) error {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	for i, group := range c.Groups {
		if err := w.bus.GroupAdd(ctx, group, c.Channels[i]); err != nil {
			return fmt.Errorf("adding %s to %s: %w", c.Channels[i], group, err)
		}
	}
	return nil
}

func (w *worker) start(c startCommand) {
	w.plan = c
	reading, stopRead := context.WithCancel(context.Background())
	sending, stopSend := context.WithCancel(context.Background())
	w.stopRead, w.stopSend = stopRead, stopSend
	for index, name := range c.Readers {
		r := &reader{w: w, index: index, name: name, latest: make([]int64, c.AllSenders), marks: make([]int64, c.AllSenders)}

		w.readers = append(w.readers, r)
		w.receiving.Go(func() { r.run(reading) })
	}
	for _, id := range c.Senders {
		s := &sender{w: w, id: id}
		w.senders = append(w.senders, s)
		w.sending.Go(func() { s.run(sending) })
	}
}

func (w *worker) since(at int64, direct bool) (a answer) {
	for _, r := range w.readers {
		if !direct || layer.IsProcessSpecific(r.name) {
			r.since(at, &a)
		}
	}
	a.Done = true
	for _, s := range w.senders {
		a.Done = a.Done && int(s.sent.Load()) == w.plan.Limit
	}
	return a
}

// round sends from every sender to every destination, when those no longer run.
func (w *worker) round() error {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	failed := make([]error, len(w.senders))
	for i, s := range w.senders {
		w.sending.Go(func() {
			for destination := range w.plan.Destinations {
				for s.send(ctx, destination) != Accepted {
					select {
					case <-time.After(10 * time.Millisecond):
					case <-ctx.Done():
						failed[i] = fmt.Errorf("sender %d cannot send to %s", s.id, w.plan.Destinations[destination].Name)
						return
					}
				}
			}
		})
	}
	w.sending.Wait()
	return errors.Join(failed...)
}

// goroutineTimeout is how long goroutines of others, such as a pool's, may take
// to notice that they are no longer needed.
const goroutineTimeout = 5 * time.Second

func (w *worker) finish(path string) (a answer, err error) {
	w.stopRead()
	w.receiving.Wait()
	// Close leaves keys to their lease where it does not reach Redis in time.
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := w.connected(ctx); err != nil {
		return a, err
	}
	began := time.Now()
	if err := w.bus.Close(); err != nil {
		return a, err
	}
	a.CloseTook = time.Since(began)
	if err := w.client.Close(); err != nil {
		return a, err
	}
	a.GoroutinesBefore = w.baseline
	for deadline := time.Now().Add(goroutineTimeout); ; time.Sleep(5 * time.Millisecond) {
		a.GoroutinesAfter = runtime.NumGoroutine()
		if a.GoroutinesAfter <= w.baseline {
			break
		}
		if time.Now().After(deadline) {
			stacks := make([]byte, 64<<10)
			a.Stacks = string(stacks[:runtime.Stack(stacks, true)])
			break
		}
	}
	for _, s := range w.senders {
		w.record.Sends[s.id] = s.sends
		w.record.Slowest = max(w.record.Slowest, s.slowest)
	}
	for _, r := range w.readers {
		w.record.Receipts[r.index] = r.receipts
	}
	for d, n := range w.drops {
		d.Count = n
		w.record.Drops = append(w.record.Drops, d)
	}
	file, err := os.Create(path)
	if err != nil {
		return a, err
	}
	buffer := bufio.NewWriter(file)
	return a, errors.Join(gob.NewEncoder(buffer).Encode(w.record), buffer.Flush(), file.Close())
}

func (w *worker) dropped(reason layer.DropReason, name string, count int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.drops[Drop{Reason: reason.String(), Name: name}] += count
}

func (w *worker) gap(from, to time.Time, reason string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.record.Gaps = append(w.record.Gaps, Gap{From: from.UnixNano(), To: to.UnixNano(), Reason: reason})
}

func (w *worker) failed(err error) {
	text := err.Error()
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, known := w.record.Errors[text]; !known && len(w.record.Errors) >= 100 {
		text = "others"
	}
	w.record.Errors[text]++
}

func (w *worker) broken(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.record.Broken) < 20 {
		w.record.Broken = append(w.record.Broken, fmt.Sprintf(format, args...))
	}
}
