package mailbox_test

import (
	"fmt"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/layer/mailbox"
)

// heap is the live heap after garbage collection, in bytes.
func heap() int64 {
	runtime.GC()
	runtime.GC() // the second empties what sync.Pool kept from the first
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func TestNoAllocations(t *testing.T) {
	s, err := mailbox.New(mailbox.Options{})
	require.NoError(t, err)
	defer s.Close()
	require.NoError(t, s.Open(specific))
	buf := make([]layer.Message, 4)
	for _, channel := range []string{specific, normal} {
		require.Zero(t, testing.AllocsPerRun(1000, func() {
			_ = s.Put(channel, benchMessage)
			_, _ = s.Receive(t.Context(), channel)
		}), "allocations of Put and Receive on %q", channel)
		require.Zero(t, testing.AllocsPerRun(1000, func() {
			_ = s.Put(channel, benchMessage)
			_ = s.Put(channel, benchMessage)
			_, _ = s.ReceiveBatch(t.Context(), channel, buf)
		}), "allocations of Put and ReceiveBatch on %q", channel)
		ref := s.Ref(channel)
		require.Zero(t, testing.AllocsPerRun(1000, func() {
			fan := s.Fan(benchMessage, 0)
			_ = fan.Put(channel, ref)
			_, _ = s.Receive(t.Context(), channel)
		}), "allocations of Fan.Put and Receive on %q", channel)
		require.Zero(t, testing.AllocsPerRun(1000, func() {
			fan := s.FanAll(buf[:3], 0)
			_, _ = fan.PutAll(channel, ref)
			_, _ = s.ReceiveBatch(t.Context(), channel, buf)
		}), "allocations of Fan.PutAll and ReceiveBatch on %q", channel)
	}
	for s.Put(specific, benchMessage) == nil {
	}
	require.Zero(t, testing.AllocsPerRun(1000, func() {
		_ = s.Put(specific, benchMessage)
		_ = s.Put("not!open", benchMessage)
	}), "allocations of a Put that is refused")
}

// manyNames makes names outside of what is measured.
func manyNames(n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = benchName(i)
	}
	return names
}

// TestMemoryIsGivenBack checks what channels cost when idle, and that nothing
// stays of them when they were used and released, or just not used any more.
func TestMemoryIsGivenBack(t *testing.T) {
	const channels = 20_000
	const left = int64(8) // in all, some small maps; a map as large as it was is five times that
	names := manyNames(channels)
	synctest.Test(t, func(t *testing.T) {
		s, err := mailbox.New(mailbox.Options{})
		require.NoError(t, err)
		defer s.Close()
		before := heap()
		perChannel := func() int64 { return (heap() - before) / channels }

		for _, name := range names {
			require.NoError(t, s.Open(name))
		}
		idle := perChannel()
		require.Less(t, idle, int64(200), "bytes for an idle channel")

		for _, name := range names {
			require.NoError(t, s.Put(name, benchMessage))
			_, err := s.Receive(t.Context(), name)
			require.NoError(t, err)
		}
		time.Sleep(3 * time.Second)
		synctest.Wait()
		require.Less(t, perChannel(), idle+8, "bytes for a channel that was used and is idle again; before it was %d", idle)

		for _, name := range names {
			require.True(t, s.Release(name))
		}
		require.Less(t, perChannel(), left, "bytes left of a channel after it was released")

		for i := range channels {
			require.NoError(t, s.Put(fmt.Sprintf("normal.%d", i), benchMessage))
		}
		time.Sleep(layer.DefaultExpiry + 3*time.Second)
		synctest.Wait()
		require.Less(t, perChannel(), left, "bytes left of a normal channel after its message expired")
	})
	runtime.KeepAlive(names)
}

// TestReceivedMessagesAreForgotten checks that a ring keeps nothing alive.
func TestReceivedMessagesAreForgotten(t *testing.T) {
	s, err := mailbox.New(mailbox.Options{})
	require.NoError(t, err)
	defer s.Close()
	before := heap()
	for range 4 {
		large := layer.NewMessage(map[string]any{"data": make([]byte, 1<<20)})
		require.NoError(t, s.Put(normal, large))
		_, err := s.Receive(t.Context(), normal)
		require.NoError(t, err)
	}
	require.Less(t, heap()-before, int64(1<<19), "bytes held after 4 messages of 1 MiB were received")
}

// BenchmarkMemory reports what a million idle channels hold, and what is left
// after they were released.
func BenchmarkMemory(b *testing.B) {
	const channels = 1_000_000
	names := manyNames(channels)
	for b.Loop() {
		s, err := mailbox.New(mailbox.Options{})
		require.NoError(b, err)
		before := heap()
		for _, name := range names {
			_ = s.Open(name)
		}
		b.ReportMetric(float64(heap()-before)/channels, "bytes/channel")
		for _, name := range names {
			s.Release(name)
		}
		b.ReportMetric(float64(heap()-before)/channels, "bytes/released-channel")
		s.Close()
	}
	runtime.KeepAlive(names)
}
