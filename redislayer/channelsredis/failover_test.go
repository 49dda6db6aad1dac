package channelsredis_test

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/channellayer/channellayer/internal/redistest"
	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/redislayer/channelsredis"
)

// The server that Sentinel names dies, or gives its place to its replica, while
// messages flow. Without the application, receivers, memberships and senders work
// again with the other server, even if that has nothing of what was written;
// nothing comes twice; what was lost was lost within a gap that was reported.
func TestFailover(t *testing.T) {
	t.Parallel()
	for name, open := range map[string]func(channelsredis.Options) (layer.Layer, error){
		"Core":   func(o channelsredis.Options) (layer.Layer, error) { return channelsredis.NewCore(o) },
		"PubSub": func(o channelsredis.Options) (layer.Layer, error) { return channelsredis.NewPubSub(o) },
	} {
		for how, fail := range map[string]func(context.Context, *redistest.Sentinel) error{
			"killed": killed, "killed, the replica has nothing": killed, "ordered": ordered,
		} {
			t.Run(name+"/"+how, func(t *testing.T) {
				sentinel := redistest.StartSentinel(t, redistest.SentinelConfig{})
				if strings.HasSuffix(how, "nothing") {
					sentinel.LagReplica(t)
				}
				testFailover(t, sentinel, open, fail)
			})
		}
	}
}

func killed(ctx context.Context, s *redistest.Sentinel) error {
	s.KillMaster()
	_, err := s.WaitPromoted(ctx)
	return err
}

// ordered is a failover that an operator asked for. On a busy machine a sentinel
// may give it up: then it is asked for again.
func ordered(ctx context.Context, s *redistest.Sentinel) (err error) {
	asked := redis.NewClient(&redis.Options{Addr: s.SentinelAddrs()[0], MaxRetries: -1})
	defer asked.Close()
	for range 6 {
		asked.Do(ctx, "SENTINEL", "FAILOVER", s.MasterName()) // or one is under way
		limited, cancel := context.WithTimeout(ctx, 8*time.Second)
		_, err = s.WaitPromoted(limited)
		cancel()
		if err == nil {
			break
		}
	}
	return err
}

func testFailover(t *testing.T, sentinel *redistest.Sentinel, open func(channelsredis.Options) (layer.Layer, error), fail func(context.Context, *redistest.Sentinel) error) {
	ctx := t.Context()
	f := &flow{got: map[int64]int{}}
	start := func(side string, observer layer.Observer) layer.Layer {
		l, err := open(channelsredis.Options{
			Hosts:    []redis.UniversalClient{sentinel.Client(t)},
			Capacity: 10_000, Observer: observer, Logger: slog.New(slog.NewTextHandler(t.Output(), nil)).With("side", side),
		})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, l.Close()) })
		soon(t, "the layer to connect", func() bool { return layer.Ping(ctx, l) == nil })
		return l
	}
	reader, sender := start("reader", layer.Observer{Gap: f.gap}), start("sender", layer.Observer{})
	own := newOwn(t, reader)
	require.NoError(t, reader.GroupAdd(ctx, "room", own))

	receiving, stop := context.WithCancel(ctx)
	var receivers sync.WaitGroup
	for _, channel := range []string{own, "jobs"} {
		receivers.Go(func() {
			for msg, err := range layer.Messages(receiving, reader, channel) {
				if err == nil {
					f.received(msg.Int("n"))
				}
			}
		})
	}
	t.Cleanup(receivers.Wait)
	t.Cleanup(stop)
	ways := []func(layer.Message) error{
		func(m layer.Message) error { return sender.Send(ctx, own, m) },
		func(m layer.Message) error { return sender.GroupSend(ctx, "room", m) },
		func(m layer.Message) error { return sender.Send(ctx, "jobs", m) },
	}
	// Each way works if a message that was sent from now on arrives.
	flows := func() {
		t.Helper()
		from := f.next
		worked := make([]bool, len(ways))
		soon(t, "messages to arrive each way", func() bool {
			for i := range ways {
				f.send(ways[i])
			}
			all := true
			f.mu.Lock()
			defer f.mu.Unlock()
			for n := from; n < f.next; n++ {
				worked[n%int64(len(ways))] = worked[n%int64(len(ways))] || f.got[n] > 0
			}
			for _, w := range worked {
				all = all && w
			}
			return all
		})
	}
	flows()
	for range 300 {
		f.send(ways[f.next%3])
	}
	require.Zero(t, f.gapCount(), "gaps before anything failed")
	failed := make(chan error, 1)
	go func() { failed <- fail(ctx, sentinel) }()
	for promoted := false; !promoted; {
		select {
		case err := <-failed:
			require.NoError(t, err)
			promoted = true
		case <-time.After(2 * time.Millisecond):
			f.send(ways[f.next%3])
		}
	}
	soon(t, "the reader to work", func() bool { return layer.Ping(ctx, reader) == nil })
	soon(t, "the sender to work", func() bool { return layer.Ping(ctx, sender) == nil })
	soon(t, "the gap", func() bool { return f.gapCount() > 0 })
	flows()
	for range 300 {
		f.send(ways[f.next%3])
	}
	flows()
	f.check(t, reader)
}

// flow is what was sent and what came.
type flow struct {
	mu   sync.Mutex
	next int64
	sent []sentMessage // by number
	got  map[int64]int // how often each came
	gaps []gap
}

type sentMessage struct {
	began, ended time.Time
	err          error
}

func (f *flow) send(way func(layer.Message) error) {
	s := sentMessage{began: time.Now()}
	s.err = way(note(int(f.next)))
	s.ended = time.Now()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sent = append(f.sent, s)
	f.next++
}

func (f *flow) received(n int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.got[n]++
}

func (f *flow) gap(from, to time.Time, reason string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.gaps = append(f.gaps, gap{from, to, reason})
}

func (f *flow) gapCount() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.gaps)
}

// check compares what came with what was sent.
func (f *flow) check(t *testing.T, reader layer.Layer) {
	t.Helper()
	missing := func() (lost []int64) {
		for n, s := range f.sent {
			inGap := false
			for _, g := range f.gaps {
				inGap = inGap || s.ended.After(g.from) && s.began.Before(g.to)
			}
			if s.err == nil && f.got[int64(n)] == 0 && !inGap {
				lost = append(lost, int64(n))
			}
		}
		return lost
	}
	soon(t, "the last messages", func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		return len(missing()) == 0
	})
	f.mu.Lock()
	defer f.mu.Unlock()
	accepted, refused, arrived := 0, 0, 0
	for n, s := range f.sent {
		times := f.got[int64(n)]
		require.LessOrEqual(t, times, 1, "message %d of %d came %d times", n, len(f.sent), times)
		switch {
		case s.err == nil:
			accepted++
		default:
			refused++
			if times > 0 {
				require.ErrorIs(t, s.err, layer.ErrMaybeSent, "message %d came", n)
			}
		}
		arrived += times
	}
	stats, _ := layer.ReadStats(reader)
	t.Logf("%d accepted, %d refused, %d arrived, gaps %v, reader %+v", accepted, refused, arrived, f.gaps, stats)
}
