package mailbox_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/layer/mailbox"
)

const (
	senders   = 64
	perSender = 300
)

// sendAll has each sender put its messages in order, again where there was no
// room.
func sendAll(t *testing.T, s *mailbox.Set, channel string) {
	var running sync.WaitGroup
	for sender := range senders {
		running.Go(func() {
			for n := range perSender {
				msg := layer.NewMessage(map[string]any{"sender": sender, "n": n})
				for {
					err := s.Put(channel, msg)
					if err == nil {
						break
					}
					if !errors.Is(err, layer.ErrChannelFull) {
						t.Errorf("Put of message %d of sender %d: %v", n, sender, err)
						return
					}
					runtime.Gosched()
				}
			}
		})
	}
	running.Wait()
}

// impatient is a ctx that ends at a random moment, often while a message is
// being handed over, or not at all.
func impatient(parent context.Context) (context.Context, context.CancelFunc) {
	switch rand.IntN(3) {
	case 0:
		return parent, func() {}
	case 1:
		return context.WithTimeout(parent, time.Duration(rand.IntN(20_000)))
	}
	ctx, cancel := context.WithCancel(parent)
	go cancel()
	return ctx, cancel
}

// receiveAll receives impatiently, one by one and in batches, until stop ends.
func receiveAll(t *testing.T, stop context.Context, s *mailbox.Set, channel string) []layer.Message {
	var got []layer.Message
	buf := make([]layer.Message, 8)
	for stop.Err() == nil {
		ctx, cancel := impatient(stop)
		n, err := s.ReceiveBatch(ctx, channel, buf[:1+rand.IntN(len(buf))])
		cancel()
		if err != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("ReceiveBatch: %v", err)
			return got
		}
		if err != nil && n != 0 {
			t.Errorf("ReceiveBatch returned %d messages and %v", n, err)
		}
		got = append(got, buf[:n]...)
	}
	return got
}

// TestNothingLost has 64 senders and receivers that give up at random: every
// message is received once, and each receiver sees each sender's in order.
func TestNothingLost(t *testing.T) {
	for name, receivers := range map[string]int{"one receiver": 1, "eight receivers": 8} {
		for _, channel := range []string{specific, normal} {
			t.Run(name+" on "+channel, func(t *testing.T) {
				s, err := mailbox.New(mailbox.Options{})
				require.NoError(t, err)
				defer s.Close()
				require.NoError(t, s.Open(specific))
				stop, cancel := context.WithCancel(t.Context())
				got := make([][]layer.Message, receivers)
				var running sync.WaitGroup
				for i := range got {
					running.Go(func() { got[i] = receiveAll(t, stop, s, channel) })
				}
				sendAll(t, s, channel)
				for s.Len(channel) > 0 {
					runtime.Gosched()
				}
				cancel()
				running.Wait()

				seen := map[[2]int64]bool{}
				for i, messages := range got {
					last := map[int64]int64{}
					for _, msg := range messages {
						sender, n := msg.Int("sender"), msg.Int("n")
						require.False(t, seen[[2]int64{sender, n}], "message %d of sender %d came twice", n, sender)
						seen[[2]int64{sender, n}] = true
						if before, ok := last[sender]; ok {
							require.Greater(t, n, before, "receiver %d got message %d of sender %d after %d", i, n, sender, before)
						}
						last[sender] = n
					}
				}
				require.Len(t, seen, senders*perSender, "messages received")
				require.Equal(t, mailbox.Stats{Accepted: senders * perSender, Received: senders * perSender}, s.Stats())
			})
		}
	}
}

// TestEverythingAtOnce runs all methods against each other, with a sweeper that
// never rests. Afterwards every message is accounted for.
func TestEverythingAtOnce(t *testing.T) {
	s, err := mailbox.New(mailbox.Options{Limits: layer.Limits{Capacity: 8, Expiry: 3 * time.Millisecond}})
	require.NoError(t, err)
	defer s.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	var running sync.WaitGroup
	for range 16 {
		running.Go(func() {
			channels := []string{specific, "second!one", normal, "other"}
			for ctx.Err() == nil {
				channel := channels[rand.IntN(len(channels))]
				switch rand.IntN(15) {
				case 0:
					_ = s.Open(specific)
					_ = s.Open("second!one")
				case 1:
					s.Release(channel)
				case 2:
					s.Clear()
				case 3:
					s.Len(channel)
				case 4, 5, 6:
					short, cancel := context.WithTimeout(ctx, time.Duration(rand.IntN(1_000_000)))
					_, _ = s.Receive(short, channel)
					cancel()
				case 7:
					fan := s.Fan(numbered(1), 0)
					ref := s.Ref(channel)
					runtime.Gosched()
					_ = fan.Put(channel, ref)
				case 10:
					fan := s.FanAll([]layer.Message{numbered(1), numbered(2), numbered(3)}, 0)
					_, _ = fan.PutAll(channel, s.Ref(channel))
				case 8:
					s.Notify(channel, numbered(2))
				case 9:
					_ = s.PutAged(channel, numbered(1), time.Duration(rand.IntN(4_000_000)))
				default:
					_ = s.Put(channel, numbered(1))
				}
			}
		})
	}
	running.Wait()
	s.Close()
	stats := s.Stats()
	require.Equal(t, stats.Accepted, stats.Received+stats.Dropped.Total(), "messages accounted for, of %+v", stats)
	require.NotZero(t, stats.Received)
}

// TestCloseAgainstReceivers closes while receivers come, wait and leave.
func TestCloseAgainstReceivers(t *testing.T) {
	for range 50 {
		s, err := mailbox.New(mailbox.Options{})
		require.NoError(t, err)
		var running sync.WaitGroup
		for range 8 {
			running.Go(func() {
				for {
					ctx, cancel := impatient(t.Context())
					_, err := s.Receive(ctx, normal)
					cancel()
					if errors.Is(err, layer.ErrClosed) {
						return
					}
				}
			})
		}
		runtime.Gosched()
		s.Close()
		running.Wait()
	}
}
