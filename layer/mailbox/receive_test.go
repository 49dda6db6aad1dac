package mailbox_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/layer/mailbox"
)

func TestWaiting(t *testing.T) {
	bubble(t, "receivers are served in order of arrival, those that left are passed over", layer.Limits{}, func(t *testing.T, s *testSet) {
		for _, channel := range []string{specific, normal} {
			results := make(chan result, 5)
			cancels := make([]context.CancelFunc, 5)
			for who := range cancels {
				ctx, cancel := context.WithCancel(t.Context())
				cancels[who] = cancel
				s.start(ctx, who, channel, results)
			}
			require.Equal(t, 5, s.Waiting(channel))
			for _, who := range []int{0, 2, 4} { // the first, one between, the last
				cancels[who]()
				require.Equal(t, result{who, 0, context.Canceled}, <-results)
			}
			require.Equal(t, 2, s.Waiting(channel))
			s.put(channel, 10)
			require.Equal(t, result{1, 10, nil}, <-results)
			s.put(channel, 11)
			require.Equal(t, result{3, 11, nil}, <-results)
			cancels[1]()
			cancels[3]()
			s.put(channel, 12)
			s.receive(channel, 12)
			require.Equal(t, 0, s.Waiting(channel))
		}
	})
	bubble(t, "a done ctx is reported before a message is taken", layer.Limits{}, func(t *testing.T, s *testSet) {
		done, cancel := context.WithCancel(t.Context())
		cancel()
		s.put(specific, 1)
		_, err := s.Receive(done, specific)
		require.Equal(t, context.Canceled, err)
		s.receive(specific, 1)
	})
	bubble(t, "without a ctx that can end", layer.Limits{}, func(t *testing.T, s *testSet) {
		results := make(chan result, 1)
		s.start(context.Background(), 1, normal, results)
		s.put(normal, 7)
		require.Equal(t, result{1, 7, nil}, <-results)
	})
}

func TestReceiveBatch(t *testing.T) {
	bubble(t, "takes what waits, up to the room there is", layer.Limits{}, func(t *testing.T, s *testSet) {
		buf := make([]layer.Message, 3)
		s.put(specific, 1, 2, 3, 4)
		n, err := s.ReceiveBatch(t.Context(), specific, buf)
		require.NoError(t, err)
		require.Equal(t, []int64{1, 2, 3}, numbers(buf[:n]))
		n, err = s.ReceiveBatch(t.Context(), specific, buf)
		require.NoError(t, err)
		require.Equal(t, []int64{4}, numbers(buf[:n]))
		n, err = s.ReceiveBatch(t.Context(), specific, nil)
		require.NoError(t, err)
		require.Zero(t, n, "messages in a buffer without room")
	})
	bubble(t, "waits for one, then takes what came while it woke up", layer.Limits{}, func(t *testing.T, s *testSet) {
		buf := make([]layer.Message, 10)
		got := make(chan int)
		go func() {
			n, err := s.ReceiveBatch(t.Context(), specific, buf)
			require.NoError(t, err)
			got <- n
		}()
		synctest.Wait()
		s.put(specific, 1, 2, 3)
		n := <-got
		rest := make([]layer.Message, 10)
		for n < 3 { // the receiver may have been quicker than this goroutine
			more, err := s.ReceiveBatch(t.Context(), specific, rest)
			require.NoError(t, err)
			n += copy(buf[n:], rest[:more])
		}
		require.Equal(t, []int64{1, 2, 3}, numbers(buf[:n]))
		require.Equal(t, mailbox.Stats{Accepted: 3, Received: 3}, s.Stats())
	})
}

func numbers(messages []layer.Message) []int64 {
	var ns []int64
	for _, m := range messages {
		ns = append(ns, m.Int("n"))
	}
	return ns
}

func TestRelease(t *testing.T) {
	bubble(t, "drops what is unread", layer.Limits{}, func(t *testing.T, s *testSet) {
		s.put(specific, 1, 2)
		require.True(t, s.Release(specific))
		s.wantTold("closed specific.abc!def 2")
		require.False(t, s.Release(specific), "releasing again")
		require.False(t, s.Has(specific))
		require.ErrorIs(t, s.Put(specific, numbered(3)), layer.ErrChannelGone)
		require.NoError(t, s.Open(specific))
		require.Zero(t, s.Len(specific), "messages after it was opened again")
	})
	bubble(t, "wakes all receivers", layer.Limits{}, func(t *testing.T, s *testSet) {
		results := make(chan result, 3)
		for who := range 3 {
			s.start(t.Context(), who, specific, results)
		}
		require.True(t, s.Release(specific))
		for range 3 {
			require.Equal(t, layer.ErrChannelGone, (<-results).err)
		}
	})
	bubble(t, "leaves a normal channel alone", layer.Limits{}, func(t *testing.T, s *testSet) {
		s.put(normal, 1)
		require.False(t, s.Release(normal))
		s.receive(normal, 1)
	})
}

func TestClear(t *testing.T) {
	bubble(t, "drops messages and nothing else", layer.Limits{}, func(t *testing.T, s *testSet) {
		results := make(chan result, 1)
		s.start(t.Context(), 1, "waiting", results)
		s.put(specific, 1, 2)
		s.put(normal, 3)
		s.Clear()
		s.wantTold("closed specific.abc!def 2", "closed jobs 1")
		require.Zero(t, s.Len(specific))
		require.True(t, s.Has(specific))
		s.put(specific, 4)
		s.receive(specific, 4)
		s.put("waiting", 5)
		require.Equal(t, result{1, 5, nil}, <-results)
	})
}

func TestClose(t *testing.T) {
	bubble(t, "drops, wakes, refuses, and may be repeated", layer.Limits{}, func(t *testing.T, s *testSet) {
		results := make(chan result, 2)
		require.NoError(t, s.Open("other!channel"))
		s.start(t.Context(), 1, "other!channel", results)
		s.start(t.Context(), 2, "waiting", results)
		s.put(specific, 1)
		s.put(normal, 1, 2)
		s.Close()
		s.Close()
		s.wantTold("closed specific.abc!def 1", "closed jobs 2")
		for range 2 {
			require.Equal(t, layer.ErrClosed, (<-results).err)
		}
		for _, channel := range []string{specific, normal, "new"} {
			err := s.Put(channel, numbered(1))
			require.ErrorIs(t, err, layer.ErrClosed, "Put(%q)", channel)
			require.ErrorIs(t, err, layer.ErrNotSent, "Put(%q)", channel)
			_, err = s.Receive(t.Context(), channel)
			require.Equal(t, layer.ErrClosed, err, "Receive(%q)", channel)
			require.False(t, s.Has(channel), "Has(%q)", channel)
		}
		require.Equal(t, layer.ErrClosed, s.Open("new!channel"))
		require.False(t, s.Release(specific))
		s.Clear()
		require.Equal(t, mailbox.Stats{Accepted: 3, Dropped: layer.Drops{layer.DropClosed: 3}}, s.Stats())
	})
}

func TestCloseAwaitsTheSweeper(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		proceed := make(chan struct{})
		s, err := mailbox.New(mailbox.Options{Observer: layer.Observer{
			Dropped: func(layer.DropReason, string, int) { <-proceed },
		}})
		require.NoError(t, err)
		require.NoError(t, s.Put(normal, numbered(1)))
		time.Sleep(layer.DefaultExpiry + time.Second)
		closed := make(chan struct{})
		go func() {
			s.Close()
			close(closed)
		}()
		synctest.Wait()
		select {
		case <-closed:
			t.Error("Close returned while the sweeper was calling the observer")
		default:
		}
		close(proceed)
		<-closed
	})
}
