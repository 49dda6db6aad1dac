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

// coreBus is a bus with a Core and a Python layer on it.
type coreBus struct {
	option string
	urls   []string
	server *redistest.Server // the first host
	python *pypeer.Process
	go1    *channelsredis.Core
	theirs *pypeer.Layer
	config pypeer.Options // Python's, and Go's to the same effect
}

// overCore runs a test for each set of options.
func overCore(t *testing.T, base pypeer.Options, test func(t *testing.T, b *coreBus)) {
	pypeer.Need(t)
	for _, option := range []struct {
		name   string
		hosts  int
		change func(*pypeer.Options)
	}{
		{plain, 1, func(*pypeer.Options) {}},
		{encrypted, 1, func(o *pypeer.Options) { o.Keys = []string{"a key", "an older key"} }},
		{twoHosts, 2, func(*pypeer.Options) {}},
		{otherPrefix, 1, func(o *pypeer.Options) { o.Prefix = "site.42:" }},
	} {
		t.Run(option.name, func(t *testing.T) {
			b := &coreBus{option: option.name, config: base}
			option.change(&b.config)
			for range option.hosts {
				server := redistest.Start(t, redistest.Config{})
				if b.server == nil {
					b.server = server
				}
				b.urls = append(b.urls, server.URL())
			}
			b.config.Hosts = b.urls
			b.python = pypeer.Start(t)
			b.theirs = b.python.Core(b.config)
			b.go1 = b.open(t, channelsredis.Options{})
			test(t, b)
		})
	}
}

// open makes one more Core on the bus.
func (b *coreBus) open(t *testing.T, o channelsredis.Options) *channelsredis.Core {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	o.Prefix, o.Expiry, o.GroupExpiry = b.config.Prefix, b.config.Expiry, b.config.GroupExpiry
	o.Capacity, o.SymmetricEncryptionKeys = b.config.Capacity, b.config.Keys
	c, err := channelsredis.OpenCore(ctx, b.urls, o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	return c
}

func (b *coreBus) record(t *testing.T, operation, direction string) {
	t.Helper()
	record(t, "Core", operation, direction, b.option)
}

func note(n int) layer.Message {
	return layer.NewMessage(map[string]any{"type": "test.note", "n": n})
}

func newOwn(t *testing.T, l layer.Layer) string {
	t.Helper()
	channel, err := l.NewChannel(t.Context(), "")
	require.NoError(t, err)
	return channel
}

// next receives one message within a time that only a fault needs.
func next(t *testing.T, l layer.Layer, channel string) layer.Message {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	msg, err := l.Receive(ctx, channel)
	require.NoError(t, err, "receive on %s", channel)
	return msg
}

// silent checks that nothing comes for a while.
func silent(t *testing.T, l layer.Layer, channel string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	msg, err := l.Receive(ctx, channel)
	require.ErrorIs(t, err, context.DeadlineExceeded, "got %v", msg)
}

const patience = 10 * time.Second

func TestInteropCoreSend(t *testing.T) {
	overCore(t, pypeer.Options{}, func(t *testing.T, b *coreBus) {
		ctx := t.Context()
		ours := newOwn(t, b.go1)
		t.Run("specific to Python", func(t *testing.T) {
			b.record(t, "send to a process-specific channel", goToPython)
			for range 8 { // names that belong to both hosts
				theirs := b.theirs.NewChannel()
				for n := range 8 {
					require.NoError(t, b.go1.Send(ctx, theirs, note(n)))
				}
				for n := range 8 {
					require.Equal(t, map[string]any{"type": "test.note", "n": int64(n)}, b.theirs.Receive(theirs, patience))
				}
			}
		})
		t.Run("specific to Go", func(t *testing.T) {
			b.record(t, "send to a process-specific channel", pythonToGo)
			for range 8 { // names that belong to both hosts
				for n := range 8 {
					b.theirs.Send(ours, map[string]any{"type": "test.note", "n": n})
				}
				for n := range 8 {
					require.True(t, note(n).Equal(next(t, b.go1, ours)), "message %d", n)
				}
				ours = newOwn(t, b.go1)
			}
		})
		t.Run("normal to Python", func(t *testing.T) {
			b.record(t, "send to a normal channel", goToPython)
			seen := map[int64]int{}
			for n := range 40 {
				require.NoError(t, b.go1.Send(ctx, "for-python", note(n)))
				seen[b.theirs.Receive("for-python", patience)["n"].(int64)]++
			}
			require.Len(t, seen, 40)
		})
		t.Run("normal to Go", func(t *testing.T) {
			b.record(t, "send to a normal channel", pythonToGo)
			for n := range 40 {
				b.theirs.Send("for-go", map[string]any{"type": "test.note", "n": n})
			}
			seen := map[int64]int{}
			for range 40 {
				seen[next(t, b.go1, "for-go").Int("n")]++
			}
			require.Len(t, seen, 40, "messages on every host are found")
		})
		t.Run("new prefix", func(t *testing.T) {
			b.record(t, "NewChannel with a prefix of its own", pythonToGo)
			channel, err := b.go1.NewChannel(ctx, "chat")
			require.NoError(t, err)
			b.theirs.Send(channel, map[string]any{"type": "test.note", "n": 7})
			require.Equal(t, int64(7), next(t, b.go1, channel).Int("n"))
		})
	})
}

func TestInteropCoreValues(t *testing.T) {
	overCore(t, pypeer.Options{}, func(t *testing.T, b *coreBus) {
		fields := map[string]any{
			"type": "test.values", "none": nil, "yes": true, "least": int64(-1 << 63), "most": int64(1<<63 - 1), "float": 0.1,
			"text": "h\u00e9 \U0001F600", "bytes": []byte{0, 255}, "list": []any{int64(1), []any{}, map[string]any{}},
			"map": map[string]any{"": nil, "deep": []any{map[string]any{"x": 1.5}}}, "large": strings.Repeat("x", 1_000_000),
		}
		ours, theirs := newOwn(t, b.go1), b.theirs.NewChannel()
		t.Run("to Python", func(t *testing.T) {
			b.record(t, "values of every type, 1 MB", goToPython)
			require.NoError(t, b.go1.Send(t.Context(), theirs, layer.NewMessage(fields)))
			require.Equal(t, fields, b.theirs.Receive(theirs, patience))
		})
		t.Run("to Go", func(t *testing.T) {
			b.record(t, "values of every type, 1 MB", pythonToGo)
			b.theirs.Send(ours, fields)
			require.Equal(t, fields, next(t, b.go1, ours).Map())
		})
	})
}

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

func TestInteropCoreGroupExpiry(t *testing.T) {
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
			silent(t, b.go1, ours)
			silent(t, b.go1, "jobs")
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

// While keys are being changed, either side may be ahead.
func TestInteropCoreRotation(t *testing.T) {
	overCore(t, pypeer.Options{}, func(t *testing.T, b *coreBus) {
		if b.option != encrypted {
			t.Skip("there is no key to change")
		}
		b.record(t, "keys in another order", goToPython)
		b.record(t, "keys in another order", pythonToGo)
		b.config.Keys = []string{"an older key", "a key"}
		ahead := b.open(t, channelsredis.Options{})
		ours, theirs := newOwn(t, ahead), b.theirs.NewChannel()
		b.theirs.Send(ours, map[string]any{"type": "test.note", "n": 1})
		require.Equal(t, int64(1), next(t, ahead, ours).Int("n"))
		require.NoError(t, ahead.Send(t.Context(), theirs, note(2)))
		require.Equal(t, int64(2), b.theirs.Receive(theirs, patience)["n"])

		// With one of the keys only, what the other encrypted is dropped and
		// counted, and the rest arrives.
		b.config.Keys = []string{"an older key"}
		behind := b.open(t, channelsredis.Options{})
		own := newOwn(t, behind)
		b.theirs.Send(own, map[string]any{"type": "test.note", "n": 3})
		require.NoError(t, ahead.Send(t.Context(), own, note(4)))
		require.Equal(t, int64(4), next(t, behind, own).Int("n"))
		require.Equal(t, uint64(1), behind.Stats().Dropped[layer.DropUndecodable])
	})
}

func TestInteropCoreUntyped(t *testing.T) {
	server := redistest.Start(t, redistest.Config{})
	c, err := channelsredis.OpenCore(t.Context(), []string{server.URL()}, channelsredis.Options{})
	require.NoError(t, err)
	defer c.Close()
	for _, fields := range []map[string]any{{}, {"text": "x"}, {"type": 1}, {"type": ""}} {
		for what, err := range map[string]error{
			"Send":      c.Send(t.Context(), "jobs", layer.NewMessage(fields)),
			"GroupSend": c.GroupSend(t.Context(), "g", layer.NewMessage(fields)),
		} {
			require.ErrorIs(t, err, layer.ErrInvalidMessage, "%s of %v", what, fields)
			require.ErrorIs(t, err, layer.ErrNotSent, "%s of %v", what, fields)
		}
	}
	require.NoError(t, c.Send(t.Context(), "jobs", layer.NewMessage(map[string]any{"type": "x"})))
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
