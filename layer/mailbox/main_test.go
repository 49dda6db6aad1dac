package mailbox_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/layer/mailbox"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	specific = "specific.abc!def" // a process-specific channel
	normal   = "jobs"
	expiry   = time.Minute
)

// testSet is a Set with what its observer was told.
type testSet struct {
	*mailbox.Set
	t    *testing.T
	mu   sync.Mutex
	told []string
}

func (s *testSet) tell(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.told = append(s.told, fmt.Sprintf(format, args...))
}

// wantTold checks what the observer was told since the last call.
func (s *testSet) wantTold(want ...string) {
	s.t.Helper()
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	require.ElementsMatch(s.t, want, s.told, "what the observer was told")
	s.told = nil
}

// newSet opens the channel named specific, and closes the Set after the test.
func newSet(t *testing.T, limits layer.Limits) *testSet {
	t.Helper()
	s := &testSet{t: t}
	set, err := mailbox.New(mailbox.Options{Limits: limits, Observer: layer.Observer{
		Dropped: func(reason layer.DropReason, channel string, count int) {
			s.tell("%s %s %d", reason, channel, count)
			s.Len(channel) // deadlocks if the lock is held
		},
		Abandoned: func(channel string) {
			s.tell("abandoned %s", channel)
			s.Len(channel)
		},
	}})
	require.NoError(t, err)
	s.Set = set
	t.Cleanup(s.Close)
	require.NoError(t, s.Open(specific))
	return s
}

// bubble runs a test in a bubble of fake time.
func bubble(t *testing.T, name string, limits layer.Limits, f func(t *testing.T, s *testSet)) {
	t.Helper()
	t.Run(name, func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) { f(t, newSet(t, limits)) })
	})
}

func numbered(n int) layer.Message { return layer.NewMessage(map[string]any{"n": n}) }

func (s *testSet) put(channel string, numbers ...int) {
	s.t.Helper()
	for _, n := range numbers {
		require.NoError(s.t, s.Put(channel, numbered(n)), "Put(%q, %d)", channel, n)
	}
}

// receive receives without waiting and returns the numbers.
func (s *testSet) receive(channel string, want ...int) {
	s.t.Helper()
	for i, n := range want {
		msg, err := s.Receive(soon(s.t), channel)
		require.NoError(s.t, err, "receiving message %d of %v from %q", i, want, channel)
		require.EqualValues(s.t, n, msg.Int("n"), "receiving message %d of %v from %q", i, want, channel)
	}
}

// soon is a ctx for what should not have to wait.
func soon(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), time.Nanosecond)
	t.Cleanup(cancel)
	return ctx
}

// result is how a Receive in its own goroutine ended.
type result struct {
	who int
	n   int64
	err error
}

// start receives in a goroutine and returns once it waits.
func (s *testSet) start(ctx context.Context, who int, channel string, results chan<- result) {
	go func() {
		msg, err := s.Receive(ctx, channel)
		results <- result{who, msg.Int("n"), err}
	}()
	synctest.Wait()
}
