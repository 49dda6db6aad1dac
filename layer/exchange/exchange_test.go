package exchange_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/channellayer/channellayer/layer"
)

// bubble runs a test with n processes in a bubble of fake time.
func bubble(t *testing.T, n int, limits layer.Limits, f func(t *testing.T, b *bus, nodes []*node)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := newBus(t)
		nodes := make([]*node, n)
		for i := range nodes {
			nodes[i] = b.node(t, limits)
		}
		f(t, b, nodes)
	})
}

// want receives numbers one after the other, each within a nanosecond of the
// bubble's time: without waiting for Heal.
func (n *node) want(t *testing.T, numbers ...int) {
	t.Helper()
	for i, number := range numbers {
		ctx, cancel := context.WithTimeout(t.Context(), time.Nanosecond)
		msg, err := n.receive(ctx, "jobs")
		cancel()
		require.NoError(t, err, "receiving message %d of %v", i, numbers)
		require.EqualValues(t, number, msg.Int("n"), "message %d of %v", i, numbers)
	}
}

func (n *node) send(t *testing.T, numbers ...int) {
	t.Helper()
	for _, number := range numbers {
		require.NoError(t, n.Send("jobs", numbered(number)))
	}
	synctest.Wait()
}

func TestWaitingMessages(t *testing.T) {
	bubble(t, 2, layer.Limits{}, func(t *testing.T, b *bus, nodes []*node) {
		nodes[0].send(t, 1, 2, 3, 4)
		nodes[1].want(t, 1, 2)
		nodes[0].want(t, 3)
		nodes[1].want(t, 4)
	})
}

// collect receives one message in each process at once, and returns the numbers.
func collect(t *testing.T, readers []*node) <-chan int64 {
	t.Helper()
	got := make(chan int64, len(readers))
	for _, n := range readers {
		go func() {
			ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
			defer cancel()
			msg, err := n.receive(ctx, "jobs")
			if err != nil {
				t.Errorf("a receiver that waited when messages were sent got %v", err)
			}
			got <- msg.Int("n")
		}()
	}
	synctest.Wait()
	return got
}

// However offers meet, each of those who wait gets a message, at once.
func TestWaitingReceivers(t *testing.T) {
	for senders := 1; senders <= 2; senders++ {
		for readers := range 5 {
			if senders > 1 && readers > 2 {
				continue // Heal's: see the package documentation
			}
			for range 20 {
				bubble(t, senders+readers, layer.Limits{}, func(t *testing.T, b *bus, nodes []*node) {
					got := collect(t, nodes[senders:])
					for i := range readers {
						require.NoError(t, nodes[i%senders].Send("jobs", numbered(i)))
					}
					seen := map[int64]bool{}
					for range readers {
						seen[<-got] = true
					}
					require.Len(t, seen, readers, "messages received, one by each reader")
				})
			}
		}
	}
}

// A receiver that gives up leaves nothing behind that another does not get.
func TestReceiverGoesAway(t *testing.T) {
	bubble(t, 3, layer.Limits{}, func(t *testing.T, b *bus, nodes []*node) {
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() {
			_, err := nodes[0].receive(ctx, "jobs")
			ended <- err
		}()
		synctest.Wait()
		cancel()
		require.ErrorIs(t, <-ended, context.Canceled)
		// For the bus, the process is a reader still: it passes the offer on.
		got := collect(t, nodes[1:2])
		nodes[2].send(t, 1)
		require.EqualValues(t, 1, <-got)

		// And here the message has come when the receiver has just gone.
		nodes[0].Arrived("jobs", numbered(2), 0)
		nodes[1].want(t, 2)
	})
}

// An offer that met a receiver who had asked, and then gave up, is not lost.
func TestOfferedToOneWhoLeaves(t *testing.T) {
	for range 20 { // the bus picks at random whom it tells
		bubble(t, 3, layer.Limits{}, func(t *testing.T, b *bus, nodes []*node) {
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			b.do(func() { b.deaf = true })
			go func() {
				_, err := nodes[0].receive(ctx, "jobs")
				ended <- err
			}()
			synctest.Wait()
			b.do(func() { b.deaf = false })
			got := collect(t, nodes[1:2])
			nodes[2].send(t, 1)
			cancel()
			require.ErrorIs(t, <-ended, context.Canceled)
			require.EqualValues(t, 1, <-got)
		})
	}
}

func TestErrors(t *testing.T) {
	bubble(t, 2, layer.Limits{Capacity: 1}, func(t *testing.T, b *bus, nodes []*node) {
		n := nodes[0]
		ctx, end := context.WithTimeout(t.Context(), time.Hour) // a hang would last for ever: other goroutines have timers
		defer end()
		n.send(t, 1)
		require.ErrorIs(t, n.Send("jobs", numbered(2)), layer.ErrChannelFull)
		require.False(t, n.Exchange.Put("jobs", numbered(2), 0))
		require.EqualValues(t, 1, n.Stats().Dropped[layer.DropFull], "Put counts, Send does not")
		require.ErrorIs(t, n.Send("no spaces", numbered(2)), layer.ErrInvalidName)
		_, err := n.receive(ctx, "no spaces")
		require.ErrorIs(t, err, layer.ErrInvalidName)
		ended, cancel := context.WithCancel(ctx)
		cancel()
		_, err = nodes[1].receive(ended, "jobs")
		require.ErrorIs(t, err, context.Canceled)
		got, err := nodes[1].Exchange.Receive(ctx, "jobs", nil)
		require.NoError(t, err)
		require.Zero(t, got)
		require.EqualValues(t, 1, n.Mailboxes().Len("jobs"), "none of these took the message")

		waiting := make(chan error)
		go func() {
			_, err := nodes[1].receive(ctx, "mail")
			waiting <- err
		}()
		synctest.Wait()
		nodes[1].Close()
		require.ErrorIs(t, <-waiting, layer.ErrClosed)
	})
}

// The age of a message goes with it.
func TestExpiry(t *testing.T) {
	bubble(t, 2, layer.Limits{Expiry: time.Minute}, func(t *testing.T, b *bus, nodes []*node) {
		nodes[0].send(t, 1, 2)
		time.Sleep(40 * time.Second)
		nodes[1].want(t, 1)
		nodes[1].Arrived("jobs", numbered(3), 40*time.Second) // as if a receiver there had gone
		time.Sleep(21 * time.Second)
		require.EqualValues(t, 1, nodes[0].Stats().Dropped[layer.DropExpired])
		require.EqualValues(t, 1, nodes[1].Stats().Dropped[layer.DropExpired])
	})
}

// What the broker loses, or cannot take, is made good by Heal.
func TestHeal(t *testing.T) {
	for name, fault := range map[string]func(b *bus, reader *node, on bool){
		"lost":    func(b *bus, _ *node, on bool) { b.do(func() { b.deaf = on }) },
		"refused": func(_ *bus, reader *node, on bool) { reader.away.Store(on) },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, 2, layer.Limits{}, func(t *testing.T, b *bus, nodes []*node) {
				fault(b, nodes[1], true)
				got := collect(t, nodes[1:])
				nodes[0].send(t, 1)
				require.Empty(t, got)
				fault(b, nodes[1], false)
				nodes[1].Heal()
				require.EqualValues(t, 1, <-got)
				nodes[0].Heal()
				nodes[1].Heal()
				members := make(chan int)
				b.do(func() {
					n := 0
					for _, m := range b.members {
						n += len(m)
					}
					members <- n
				})
				require.Zero(t, <-members, "holders and readers, when nobody needs any")
			})
		})
	}
}

// A holder that cannot send a message keeps it.
func TestGivingFails(t *testing.T) {
	bubble(t, 2, layer.Limits{}, func(t *testing.T, b *bus, nodes []*node) {
		nodes[0].send(t, 1)
		nodes[0].away.Store(true)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := nodes[1].receive(ctx, "jobs")
		require.ErrorIs(t, err, context.DeadlineExceeded)
		nodes[0].away.Store(false)
		nodes[1].want(t, 1)
	})
}

// Senders, and receivers that give up at random, everywhere: each message comes
// once, and none stays behind without Heal.
func TestRandom(t *testing.T) {
	const senders, each = 4, 500
	bubble(t, 4, layer.Limits{Capacity: senders * each}, func(t *testing.T, b *bus, nodes []*node) {
		var mu sync.Mutex
		got := map[string]int{}
		all, end := context.WithCancel(t.Context())
		var receiving, sending sync.WaitGroup
		for i := range 12 {
			receiving.Go(func() {
				for all.Err() == nil {
					ctx, cancel := context.WithTimeout(all, time.Duration(rand.IntN(20))*time.Millisecond)
					msg, err := nodes[i%len(nodes)].receive(ctx, "jobs")
					cancel()
					if err == nil {
						mu.Lock()
						got[msg.String("id")]++
						mu.Unlock()
					}
				}
			})
		}
		for i := range senders {
			sending.Go(func() {
				for k := range each {
					msg := layer.NewMessage(map[string]any{"id": fmt.Sprint(i, "/", k)})
					if err := nodes[i].Send("jobs", msg); err != nil {
						t.Errorf("Send: %v", err)
					}
					time.Sleep(time.Duration(rand.IntN(3)) * time.Millisecond)
				}
			})
		}
		sending.Wait()
		time.Sleep(10 * time.Second)
		end()
		receiving.Wait()
		require.Len(t, got, senders*each, "messages received")
		for id, times := range got {
			require.Equal(t, 1, times, "message %s", id)
		}
	})
}
