package channelsredis_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/channellayer/channellayer/internal/pypeer"
	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/redislayer/channelsredis"
)

func TestInteropCoreGroups(t *testing.T) {
	overCore(t, pypeer.Options{}, func(t *testing.T, b *coreBus) {
		ctx := t.Context()
		go2 := b.open(t, channelsredis.Options{})
		ours, ours2, other, theirs, theirs2 := newOwn(t, b.go1), newOwn(t, b.go1), newOwn(t, go2), b.theirs.NewChannel(), b.theirs.NewChannel()
		message := map[string]any{"type": "test.note", "n": int64(1)}
		toAll := func(t *testing.T, send func(group string), group string) {
			send(group)
			for _, channel := range []string{ours, ours2} {
				require.Equal(t, message, next(t, b.go1, channel).Map())
			}
			require.Equal(t, message, next(t, go2, other).Map())
			for _, channel := range []string{theirs, theirs2} {
				require.Equal(t, message, b.theirs.Receive(channel, patience))
			}
		}
		fromGo := func(group string) { require.NoError(t, b.go1.GroupSend(ctx, group, note(1))) }
		fromPython := func(group string) { b.theirs.GroupSend(group, message) }

		t.Run("Go adds", func(t *testing.T) {
			b.record(t, "group add, also of the other's channels", goToPython)
			for _, channel := range []string{ours, ours2, other, theirs, theirs2} {
				require.NoError(t, b.go1.GroupAdd(ctx, "by-go", channel))
			}
			toAll(t, fromPython, "by-go")
		})
		t.Run("Python adds", func(t *testing.T) {
			b.record(t, "group add, also of the other's channels", pythonToGo)
			for _, channel := range []string{ours, ours2, other, theirs, theirs2} {
				b.theirs.GroupAdd("by-python", channel)
			}
			toAll(t, fromGo, "by-python")
		})
		t.Run("Go sends", func(t *testing.T) {
			b.record(t, "group send", goToPython)
			for _, group := range []string{"by-go", "by-python"} {
				toAll(t, fromGo, group)
				toAll(t, fromGo, group) // as planned before
			}
		})
		t.Run("Python sends", func(t *testing.T) {
			b.record(t, "group send", pythonToGo)
			for _, group := range []string{"by-go", "by-python"} {
				toAll(t, fromPython, group)
			}
		})
		t.Run("normal members", func(t *testing.T) {
			require.NoError(t, b.go1.GroupAdd(ctx, "normal", "work"))
			t.Run("Go sends", func(t *testing.T) {
				b.record(t, "group send to a normal channel", goToPython)
				require.NoError(t, b.go1.GroupSend(ctx, "normal", layer.NewMessage(map[string]any{"type": "test.note", "n": 1, "reply_to": ours})))
				b.theirs.StartWorker("work")
				for range 2*len(b.urls) - 2 { // a reader waits at one host until something comes there
					require.NoError(t, b.go1.Send(ctx, "work", note(-1)))
				}
				require.Equal(t, int64(1), next(t, b.go1, ours).Int("n"))
			})
			t.Run("Python sends", func(t *testing.T) {
				b.record(t, "group send to a normal channel", pythonToGo)
				require.NoError(t, b.go1.Flush(ctx))
				b.theirs.GroupAdd("normal", "work.for.go") // Python's cancelled reader may still take one from the other
				fromPython("normal")
				require.Equal(t, message, next(t, b.go1, "work.for.go").Map())
			})
		})
	})
}

// soon waits until it is so, in the test's own goroutine.
func soon(t *testing.T, what string, so func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !so(); time.Sleep(10 * time.Millisecond) {
		require.True(t, time.Now().Before(end), "waited %v for %s", patience, what)
	}
}

func TestInteropCoreDiscard(t *testing.T) {
	overCore(t, pypeer.Options{}, func(t *testing.T, b *coreBus) {
		ctx := t.Context()
		ours, theirs := newOwn(t, b.go1), b.theirs.NewChannel()
		add := func(group string) {
			require.NoError(t, b.go1.GroupAdd(ctx, group, ours))
			b.theirs.GroupAdd(group, theirs)
		}
		nobody := func(t *testing.T, group string) {
			require.NoError(t, b.go1.GroupSend(ctx, group, note(1)))
			b.theirs.GroupSend(group, map[string]any{"type": "test.note", "n": 2})
			silent(t, b.go1, ours)
			_, err := b.theirs.TryReceive(theirs, 200*time.Millisecond)
			require.True(t, pypeer.IsType(err, "TimeoutError"), "got %v", err)
		}
		t.Run("Go discards", func(t *testing.T) {
			b.record(t, "group discard, also of the other's channels", goToPython)
			add("a")
			require.NoError(t, b.go1.GroupDiscard(ctx, "a", ours))
			require.NoError(t, b.go1.GroupDiscard(ctx, "a", theirs))
			nobody(t, "a")
		})
		t.Run("Python discards", func(t *testing.T) {
			b.record(t, "group discard, also of the other's channels", pythonToGo)
			add("b")
			require.NoError(t, b.go1.GroupSend(ctx, "b", note(0)))
			next(t, b.go1, ours)
			b.theirs.Receive(theirs, patience)
			b.theirs.GroupDiscard("b", ours)
			b.theirs.GroupDiscard("b", theirs)
			nobody(t, "b")
		})
	})
}

func TestInteropCoreGroupExpiry(t *testing.T) {
	t.Parallel() // it mostly waits
	overCore(t, pypeer.Options{GroupExpiry: 2 * time.Second}, func(t *testing.T, b *coreBus) {
		ctx := t.Context()
		ours, theirs := newOwn(t, b.go1), b.theirs.NewChannel()
		require.NoError(t, b.go1.GroupAdd(ctx, "g", theirs))
		b.theirs.GroupAdd("g", ours)
		require.NoError(t, b.go1.GroupSend(ctx, "g", note(1)))
		require.Equal(t, int64(1), next(t, b.go1, ours).Int("n"))
		require.Equal(t, int64(1), b.theirs.Receive(theirs, patience)["n"])
		b.record(t, "group expiry", goToPython)
		b.record(t, "group expiry", pythonToGo)
		time.Sleep(1500 * time.Millisecond)
		require.NoError(t, b.go1.GroupAdd(ctx, "g", "later")) // makes the group live on
		time.Sleep(1700 * time.Millisecond)
		require.NoError(t, b.go1.GroupSend(ctx, "g", note(2)))
		b.theirs.GroupSend("g", map[string]any{"type": "test.note", "n": 3})
		silent(t, b.go1, ours)
		_, err := b.theirs.TryReceive(theirs, 200*time.Millisecond)
		require.True(t, pypeer.IsType(err, "TimeoutError"), "got %v", err)
	})
}

func TestInteropCoreFlush(t *testing.T) {
	overCore(t, pypeer.Options{}, func(t *testing.T, b *coreBus) {
		ctx := t.Context()
		ours, theirs := newOwn(t, b.go1), b.theirs.NewChannel()
		fill := func() {
			require.NoError(t, b.go1.GroupAdd(ctx, "g", ours))
			require.NoError(t, b.go1.GroupAdd(ctx, "g", theirs))
			for n := range len(b.urls) {
				require.NoError(t, b.go1.Send(ctx, "jobs", note(n)))
			}
		}
		empty := func(t *testing.T) {
			require.NoError(t, b.go1.GroupSend(ctx, "g", note(1)))
			b.theirs.GroupSend("g", fromPython(2))
			silent(t, b.go1, ours)
			silent(t, b.go1, "jobs")
			_, err := b.theirs.TryReceive(theirs, 200*time.Millisecond)
			require.True(t, pypeer.IsType(err, "TimeoutError"), "got %v", err)
		}
		t.Run("by Go", func(t *testing.T) {
			b.record(t, "flush", goToPython)
			fill()
			require.NoError(t, b.go1.Flush(ctx))
			empty(t)
		})
		t.Run("by Python", func(t *testing.T) {
			b.record(t, "flush", pythonToGo)
			fill()
			b.theirs.Flush()
			empty(t)
		})
	})
}
