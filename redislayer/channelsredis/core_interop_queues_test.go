package channelsredis_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/channellayer/channellayer/internal/faultproxy"
	"github.com/channellayer/channellayer/internal/pypeer"
	"github.com/channellayer/channellayer/internal/redistest"
	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/redislayer/channelsredis"
)

func TestInteropCoreCapacity(t *testing.T) {
	overCore(t, pypeer.Options{Capacity: 4}, func(t *testing.T, b *coreBus) {
		ctx := t.Context()
		room := 4 * len(b.urls) // senders on both sides go round the hosts
		t.Run("Go fills", func(t *testing.T) {
			b.record(t, "capacity", goToPython)
			for n := range room {
				require.NoError(t, b.go1.Send(ctx, "full", note(n)))
			}
			require.ErrorIs(t, b.go1.Send(ctx, "full", note(room)), layer.ErrChannelFull)
			err := b.theirs.TrySend("full", map[string]any{"type": "test.note"})
			require.True(t, pypeer.IsType(err, "ChannelFull"), "Python's send to what Go filled: %v", err)
		})
		t.Run("Python fills", func(t *testing.T) {
			b.record(t, "capacity", pythonToGo)
			for n := range room {
				b.theirs.Send("full2", map[string]any{"type": "test.note", "n": n})
			}
			for range b.urls {
				require.ErrorIs(t, b.go1.Send(ctx, "full2", note(room)), layer.ErrChannelFull)
			}
			next(t, b.go1, "full2")
		})
		t.Run("process", func(t *testing.T) {
			theirs := b.theirs.NewChannel()
			for n := range 4 {
				require.NoError(t, b.go1.Send(ctx, theirs, note(n)))
			}
			err := b.go1.Send(ctx, theirs, note(4))
			require.ErrorIs(t, err, layer.ErrInboxFull)
			require.ErrorIs(t, err, layer.ErrNotSent)
			require.Equal(t, int64(0), b.theirs.Receive(theirs, patience)["n"])
		})
		t.Run("group", func(t *testing.T) {
			theirs := b.theirs.NewChannel()
			b.theirs.GroupAdd("full", theirs)
			before := b.go1.Stats().Dropped[layer.DropFull]
			for n := range 6 {
				require.NoError(t, b.go1.GroupSend(ctx, "full", note(n)))
			}
			// The four of the last test but one may still be in the queue.
			require.GreaterOrEqual(t, b.go1.Stats().Dropped[layer.DropFull]-before, uint64(2), "those without room are counted")
		})
	})
}

func TestInteropCoreExpiry(t *testing.T) {
	t.Parallel() // it mostly waits
	overCore(t, pypeer.Options{Expiry: 2 * time.Second}, func(t *testing.T, b *coreBus) {
		t.Run("to Python", func(t *testing.T) {
			b.record(t, "expiry", goToPython)
			for n := range len(b.urls) {
				require.NoError(t, b.go1.Send(t.Context(), "old", note(n)))
			}
			// What has expired is removed and counted by whoever sent it.
			soon(t, "expired messages counted", func() bool { return b.go1.Stats().Dropped[layer.DropExpired] == uint64(len(b.urls)) })
			_, err := b.theirs.TryReceive("old", 200*time.Millisecond)
			require.True(t, pypeer.IsType(err, "TimeoutError"), "got %v", err)
		})
		t.Run("to Go", func(t *testing.T) {
			b.record(t, "expiry", pythonToGo)
			for range b.urls {
				b.theirs.Send("old2", map[string]any{"type": "test.note", "n": 1})
			}
			time.Sleep(1500 * time.Millisecond)
			for range b.urls { // each send makes the queue live on
				b.theirs.Send("old2", map[string]any{"type": "test.note", "n": 2})
			}
			time.Sleep(1200 * time.Millisecond) // the first is 2.7 s old, the second 1.2 s
			for range b.urls {
				require.Equal(t, int64(2), next(t, b.go1, "old2").Int("n"), "Go's reader looks at the age")
			}
			silent(t, b.go1, "old2")
		})
	})
}

// FIFO over many messages, in both directions.
func TestInteropCoreManyInOrder(t *testing.T) {
	overCore(t, pypeer.Options{Capacity: 20_000}, func(t *testing.T, b *coreBus) {
		what, count := "many messages in order (10,000; with options, 1,000)", 1000
		if b.option == plain {
			count = 10_000
		}
		ours, theirs := newOwn(t, b.go1), b.theirs.NewChannel()
		t.Run("to Python", func(t *testing.T) {
			b.record(t, what, goToPython)
			for n := range count {
				require.NoError(t, b.go1.Send(t.Context(), theirs, note(n)))
			}
			got, err := b.theirs.ReceiveMany(theirs, count, patience)
			require.NoError(t, err)
			requireSeries(t, got, count)
		})
		t.Run("to Go", func(t *testing.T) {
			b.record(t, what, pythonToGo)
			sent := make(chan error, 1)
			go func() { sent <- b.theirs.SendMany(ours, 0, count, map[string]any{"type": "test.note"}) }()
			var got []int
			for range count {
				got = append(got, int(next(t, b.go1, ours).Int("n")))
			}
			require.NoError(t, <-sent)
			requireSeries(t, got, count)
		})
	})
}

func requireSeries(t *testing.T, got []int, count int) {
	t.Helper()
	require.Len(t, got, count)
	for i, n := range got {
		require.Equal(t, i, n, "place %d", i)
	}
}

// Several Go workers and one of Python's share a normal channel: every message
// comes to one of them, once.
func TestInteropCoreWorkers(t *testing.T) {
	count := 2000
	overCore(t, pypeer.Options{Capacity: 5000}, func(t *testing.T, b *coreBus) {
		b.record(t, "Go workers beside one of Python on a normal channel", goToPython)
		b.record(t, "Go workers beside one of Python on a normal channel", pythonToGo)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		own := newOwn(t, b.go1)
		b.theirs.StartWorker("work") // tells in replies what it gets; it is not stopped, since Python may miss being cancelled
		type got struct {
			n      int64
			python bool
			err    error
		}
		received := make(chan got, 2*count)
		ended := make(chan struct{})
		layers := []*channelsredis.Core{b.go1, b.open(t, channelsredis.Options{}), b.open(t, channelsredis.Options{})}
		workers := 0
		for _, l := range layers {
			for range 2 {
				workers++
				go func() {
					defer func() { ended <- struct{}{} }()
					for {
						msg, err := l.Receive(ctx, "work")
						if err != nil {
							if !errors.Is(err, context.Canceled) {
								received <- got{err: err}
							}
							return
						}
						received <- got{n: msg.Int("n")}
						time.Sleep(time.Millisecond) // work
					}
				}()
			}
		}
		python := 0
		workers++
		go func() {
			defer func() { ended <- struct{}{} }()
			for msg, err := range layer.Messages(ctx, b.go1, own) {
				if err == nil {
					received <- got{n: msg.Int("n"), python: true}
				}
			}
		}()
		sent := make(chan error, 1)
		go func() {
			sent <- b.theirs.SendMany("work", 0, count/2, map[string]any{"type": "test.note", "reply_to": own})
		}()
		for n := count / 2; n < count; n++ {
			require.NoError(t, b.go1.Send(ctx, "work", layer.NewMessage(map[string]any{"type": "test.note", "n": n, "reply_to": own})))
		}
		require.NoError(t, <-sent)
		seen := map[int64]int{}
		drain := func() {
			for {
				select {
				case g := <-received:
					require.NoError(t, g.err)
					seen[g.n]++
					if g.python {
						python++
					}
				default:
					return
				}
			}
		}
		soon(t, "all messages", func() bool { drain(); return len(seen) >= count })
		cancel()
		for range workers {
			<-ended
		}
		drain()
		for n := range int64(count) {
			require.Equal(t, 1, seen[n], "message %d of %d; Python had %d", n, count, python)
		}
		require.Len(t, seen, count)
		require.NotZero(t, python)
		require.Less(t, python, count)
	})
}

// What a Python reader that crashed has left in its queue of messages under
// way is Python's to put back; Go's readers neither deliver it nor remove it. Once
// a Python reader has put it back, a reader in Go that waits gets it, or else that
// one does.
func TestInteropCoreInFlight(t *testing.T) {
	overCore(t, pypeer.Options{}, func(t *testing.T, b *coreBus) {
		if b.option != plain {
			t.Skip("one server is enough")
		}
		b.record(t, "what a crashed reader left in $inflight", pythonToGo)
		ctx := t.Context()
		client := b.server.Client(t)
		inFlight := func() int64 { return client.ZCard(ctx, "asgiwork$inflight").Val() }

		// A reader that has its message, and ends before it has said so.
		crash := func(n int) {
			proxy := faultproxy.New(t, b.server.Addr())
			proxy.DropRequests(1000, faultproxy.Containing("$7\r\nZPOPMIN")) // however often it tries
			crashing := pypeer.Start(t)
			require.NoError(t, b.go1.Send(ctx, "work", note(n)))
			require.Equal(t, int64(n), crashing.Core(pypeer.Options{Hosts: []string{"redis://" + proxy.Addr()}}).Receive("work", patience)["n"])
			crashing.Kill()
			require.Equal(t, int64(1), inFlight(), "the message is still under way")
			silent(t, b.go1, "work")
			require.Equal(t, int64(1), inFlight(), "Go's reader leaves it there")
		}

		crash(1)
		got := make(chan layer.Message, 1)
		receiving, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		go func() {
			msg, _ := b.go1.Receive(receiving, "work")
			got <- msg
		}()
		blocked := func(want string) func() bool {
			return func() bool { return b.server.Info(t, "clients")["blocked_clients"] == want }
		}
		soon(t, "Go's reader to wait", blocked("1"))
		another := pypeer.Start(t)
		worker := another.Core(b.config).StartWorker("work")
		require.Equal(t, int64(1), (<-got).Int("n"))
		require.Zero(t, inFlight())
		require.Zero(t, worker.Received())
		another.Kill()
		soon(t, "nobody to wait", blocked("0"))

		crash(2)
		worker = b.theirs.StartWorker("work")
		soon(t, "Python's reader to receive it", func() bool { return worker.Received() == 1 })
	})
}

// What cannot be read is dropped, counted and told, and its neighbours arrive.
func TestCoreUndecodable(t *testing.T) {
	server := redistest.Start(t, redistest.Config{})
	client := server.Client(t)
	type drop struct {
		reason layer.DropReason
		name   string
	}
	drops := make(chan drop, 100)
	c, err := channelsredis.OpenCore(t.Context(), []string{server.URL()}, channelsredis.Options{
		SymmetricEncryptionKeys: []string{"right"}, MaxMessageSize: 1000,
		Observer: layer.Observer{Dropped: func(r layer.DropReason, name string, n int) { drops <- drop{r, name} }},
	})
	require.NoError(t, err)
	defer c.Close()
	other, err := channelsredis.OpenCore(t.Context(), []string{server.URL()}, channelsredis.Options{SymmetricEncryptionKeys: []string{"right"}})
	require.NoError(t, err)
	defer other.Close()
	wrong, err := channelsredis.OpenCore(t.Context(), []string{server.URL()}, channelsredis.Options{SymmetricEncryptionKeys: []string{"wrong"}})
	require.NoError(t, err)
	defer wrong.Close()
	ctx := t.Context()
	own := newOwn(t, c)
	queues := map[string]string{"jobs": "jobs", layer.ClientPrefix(own): own}
	for queue, channel := range queues {
		require.NoError(t, other.Send(ctx, channel, note(1)))
		now := float64(time.Now().UnixMicro()) / 1e6
		for i, garbage := range []string{"", "short", "0123456789abgarbage", "0123456789ab\x80"} {
			require.NoError(t, client.ZAdd(ctx, "asgi"+queue, redis.Z{Score: now + float64(i)/1e3, Member: garbage}).Err())
		}
		require.NoError(t, wrong.Send(ctx, channel, note(2)))
		require.NoError(t, other.Send(ctx, channel, layer.NewMessage(map[string]any{"type": "large", "x": strings.Repeat("x", 2000)})))
		require.NoError(t, other.Send(ctx, channel, note(3)))
		require.Equal(t, int64(1), next(t, c, channel).Int("n"))
		require.Equal(t, int64(3), next(t, c, channel).Int("n"))
		counts := map[layer.DropReason]int{}
		for range 6 {
			counts[(<-drops).reason]++
		}
		require.Equal(t, map[layer.DropReason]int{layer.DropUndecodable: 5, layer.DropOversized: 1}, counts, queue)
	}
	require.Empty(t, drops)
	stats := c.Stats()
	require.Equal(t, uint64(10), stats.Dropped[layer.DropUndecodable], fmt.Sprint(stats))
}
