package consumer_test

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/layer/consumer"
	"github.com/stretchr/testify/require"
)

func TestNewWorkerRefusesBadOptions(t *testing.T) {
	l := newLayer(t, layer.Limits{})
	good := []string{"mail"}
	for name, tc := range map[string]struct {
		layer   layer.Layer
		options consumer.WorkerOptions
		want    error
	}{
		"no layer":             {nil, consumer.WorkerOptions{Channels: good}, layer.ErrInvalidOption},
		"no channel":           {l, consumer.WorkerOptions{}, layer.ErrInvalidOption},
		"bad channel":          {l, consumer.WorkerOptions{Channels: []string{"a b"}}, layer.ErrInvalidName},
		"process-specific":     {l, consumer.WorkerOptions{Channels: []string{"a!b"}}, layer.ErrInvalidOption},
		"channel twice":        {l, consumer.WorkerOptions{Channels: []string{"a", "b", "a"}}, layer.ErrInvalidOption},
		"negative Concurrency": {l, consumer.WorkerOptions{Channels: good, Concurrency: -1}, layer.ErrInvalidOption},
		"negative StopTimeout": {l, consumer.WorkerOptions{Channels: good, StopTimeout: -1}, layer.ErrInvalidOption},
		"nil handler":          {l, consumer.WorkerOptions{Channels: good, Handlers: map[string]consumer.Handler{"": nil}}, layer.ErrInvalidOption},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := consumer.NewWorker(tc.layer, tc.options)
			require.ErrorIs(t, err, tc.want)
		})
	}
}

// job is a handler that takes a while, heedless of ctx.
func job(d time.Duration, done *journal[int64]) map[string]consumer.Handler {
	return map[string]consumer.Handler{"job": func(_ context.Context, msg layer.Message) error {
		time.Sleep(d)
		done.add(msg.Int("n"))
		return nil
	}}
}

func TestWorkerKeepsOrderWithOneHandler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLayer(t, layer.Limits{})
		var done journal[int64]
		w := newWorker(t, l, consumer.WorkerOptions{Channels: []string{"a", "b"}, Handlers: job(time.Millisecond, &done)})
		ctx, stop := context.WithCancel(t.Context())
		run := start(func() error { return w.Run(ctx) })
		for i := range 50 {
			send(t, l, "a", "job", i)
			send(t, l, "b", "job", 100+i)
		}
		time.Sleep(time.Second)
		stop()
		require.NoError(t, run())

		var a, b []int64
		for _, n := range done.all() {
			if n < 100 {
				a = append(a, n)
			} else {
				b = append(b, n)
			}
		}
		require.True(t, slices.IsSorted(a) && len(a) == 50, "of a were handled %v", a)
		require.True(t, slices.IsSorted(b) && len(b) == 50, "of b were handled %v", b)
		require.Equal(t, consumer.Stats{Handled: 100}, w.Stats())
	})
}

func TestWorkerBoundsConcurrencyOverAllChannels(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLayer(t, layer.Limits{})
		var running, most, handled atomic.Int64
		w := newWorker(t, l, consumer.WorkerOptions{
			Channels:    []string{"a", "b", "c"},
			Concurrency: 4,
			Handlers: map[string]consumer.Handler{"job": func(_ context.Context, msg layer.Message) error {
				if now := running.Add(1); now > most.Load() {
					most.Store(now)
				}
				time.Sleep(time.Second)
				running.Add(-1)
				handled.Add(1)
				return nil
			}},
		})
		ctx, stop := context.WithCancel(t.Context())
		run := start(func() error { return w.Run(ctx) })
		for i := range 60 {
			send(t, l, string("abc"[i%3]), "job", i)
		}
		time.Sleep(15*time.Second + time.Millisecond)
		require.Equal(t, int64(4), most.Load(), "handlers at once")
		require.Equal(t, int64(60), handled.Load(), "messages handled in the time that 4 handlers need")
		stop()
		require.NoError(t, run())
	})
}

// What a worker has no handler free for is for other workers.
func TestWorkerTakesOnlyWhatItCanHandle(t *testing.T) {
	for name, channels := range map[string][]string{"one channel": {"a"}, "more channels": {"a", "b", "c"}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLayer(t, layer.Limits{})
				var done journal[int64]
				w := newWorker(t, l, consumer.WorkerOptions{Channels: channels, Concurrency: 2, Handlers: job(time.Minute, &done)})
				ctx, stop := context.WithCancel(t.Context())
				run := start(func() error { return w.Run(ctx) })
				synctest.Wait()
				send(t, l, "a", "job", 1)
				send(t, l, "a", "job", 2)
				time.Sleep(time.Second)
				for i, channel := range channels {
					send(t, l, channel, "job", 10+i)
				}
				time.Sleep(30 * time.Second)
				for i, channel := range channels {
					ctx, cancel := context.WithTimeout(t.Context(), time.Second)
					msg, err := l.Receive(ctx, channel)
					cancel()
					require.NoErrorf(t, err, "what was sent to %s while all handlers were busy is not there for others", channel)
					require.Equal(t, int64(10+i), msg.Int("n"))
				}
				time.Sleep(time.Minute)
				send(t, l, channels[len(channels)-1], "job", 3)
				time.Sleep(time.Minute + time.Second)
				require.ElementsMatch(t, []int64{1, 2, 3}, done.all(), "messages handled after a handler is free again")
				require.Zero(t, w.Stats().Retried, "calling receivers back is no error")
				stop()
				require.NoError(t, run())
			})
		})
	}
}

func TestBusyChannelStarvesNoOther(t *testing.T) {
	for _, takes := range []time.Duration{time.Millisecond, time.Second} {
		for _, answers := range []time.Duration{0, 20 * time.Millisecond} {
			t.Run(fmt.Sprintf("handlers take %v and the broker answers in %v", takes, answers), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					inner := newLayer(t, layer.Limits{Capacity: 10_000, Expiry: time.Hour})
					// The quiet channel's messages take longer to fetch.
					l := &faulty{Layer: inner, receive: func(ctx context.Context, channel string) (layer.Message, error) {
						if channel == "quiet" {
							select {
							case <-time.After(answers):
							case <-ctx.Done():
								return layer.Message{}, ctx.Err()
							}
						}
						return inner.Receive(ctx, channel)
					}}
					var busy, quiet int
					w := newWorker(t, l, consumer.WorkerOptions{
						Channels: []string{"busy", "quiet"},
						Handlers: map[string]consumer.Handler{
							"busy":  func(context.Context, layer.Message) error { busy++; time.Sleep(takes); return nil },
							"quiet": func(context.Context, layer.Message) error { quiet++; time.Sleep(takes); return nil },
						},
					})
					for i := range 5000 {
						send(t, l, "busy", "busy", i)
					}
					for i := range 10 {
						send(t, l, "quiet", "quiet", i)
					}
					ctx, stop := context.WithCancel(t.Context())
					run := start(func() error { return w.Run(ctx) })
					time.Sleep(time.Second + 40*takes)
					stop()
					require.NoError(t, run())
					require.Equal(t, 10, quiet, "of 10 messages on the quiet channel, while %d on the busy one were handled", busy)
				})
			})
		}
	}
}

func TestWorkerStopsGracefully(t *testing.T) {
	type key struct{}
	for name, tc := range map[string]struct {
		takes, timeout, stopsAfter time.Duration
		handled                    int
	}{
		"handlers in time":  {4 * time.Second, 5 * time.Second, 4 * time.Second, 3},
		"handlers too slow": {time.Hour, 5 * time.Second, 5 * time.Second, 0},
		"default timeout":   {time.Hour, 0, 10 * time.Second, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLayer(t, layer.Limits{})
				var errs journal[error]
				w := newWorker(t, l, consumer.WorkerOptions{
					Channels: []string{"a"}, Concurrency: 3, StopTimeout: tc.timeout,
					Handlers: map[string]consumer.Handler{"job": func(ctx context.Context, _ layer.Message) error {
						require.Equal(t, "kept", ctx.Value(key{}))
						select {
						case <-time.After(tc.takes):
							return nil
						case <-ctx.Done():
							return ctx.Err()
						}
					}},
					OnError: func(_ layer.Message, err error) { errs.add(err) },
				})
				ctx, stop := context.WithCancel(context.WithValue(t.Context(), key{}, "kept"))
				run := start(func() error { return w.Run(ctx) })
				for i := range 3 {
					send(t, l, "a", "job", i)
				}
				synctest.Wait()
				begin := time.Now()
				stop()
				synctest.Wait()
				send(t, l, "a", "job", 4) // is not for this worker any more
				require.NoError(t, run())
				require.Equal(t, tc.stopsAfter, time.Since(begin), "time to stop")
				require.Equal(t, consumer.Stats{Handled: uint64(tc.handled), Failed: uint64(3 - tc.handled)}, w.Stats())
				for _, err := range errs.all() {
					require.ErrorIs(t, err, context.Canceled)
				}
				msg, err := l.Receive(t.Context(), "a")
				require.NoError(t, err)
				require.Equal(t, int64(4), msg.Int("n"))
			})
		})
	}
}

// Each message is handled, or still there, whenever workers stop.
func TestWorkerLosesNothingItTook(t *testing.T) {
	l := newLayer(t, layer.Limits{Capacity: 10_000})
	const messages = 3000
	channels := []string{"a", "b", "c"}
	var seen [messages]atomic.Int64
	handlers := map[string]consumer.Handler{"job": func(_ context.Context, msg layer.Message) error {
		seen[msg.Int("n")].Add(1)
		runtime.Gosched()
		return nil
	}}
	for i := range messages {
		send(t, l, channels[i%3], "job", i)
	}
	var handled uint64
	for round := 0; handled < messages; round++ {
		ctx, stop := context.WithCancel(t.Context())
		w := newWorker(t, l, consumer.WorkerOptions{Channels: channels, Concurrency: 1 + round%4, Handlers: handlers})
		run := start(func() error { return w.Run(ctx) })
		for w.Stats().Handled < min(100, messages-handled) {
			runtime.Gosched()
		}
		stop()
		require.NoError(t, run())
		handled += w.Stats().Handled
	}
	for n := range seen {
		require.Equal(t, int64(1), seen[n].Load(), "times that message %d was handled", n)
	}
}

func TestWorkerContainsFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLayer(t, layer.Limits{})
		var got journal[string]
		w := newWorker(t, l, consumer.WorkerOptions{
			Channels: []string{"a"},
			Handlers: map[string]consumer.Handler{
				"error": func(context.Context, layer.Message) error { return errAway },
				"panic": func(context.Context, layer.Message) error { panic("contained") },
				"exit":  func(context.Context, layer.Message) error { runtime.Goexit(); return nil },
				"fine":  func(context.Context, layer.Message) error { return nil },
			},
			OnUnknown: func(msg layer.Message) { got.add("unknown " + msg.Type()) },
			OnError:   func(msg layer.Message, err error) { got.add(fmt.Sprint(msg.Type(), ": ", err)) },
		})
		ctx, stop := context.WithCancel(t.Context())
		run := start(func() error { return w.Run(ctx) })
		for i, kind := range []string{"error", "panic", "exit", "other", "fine", "exit"} {
			send(t, l, "a", kind, i)
		}
		synctest.Wait()
		require.Equal(t, []string{
			"error: the broker is away",
			"panic: consumer: handler panicked: contained",
			"exit: consumer: handler called runtime.Goexit",
			"unknown other",
			"exit: consumer: handler called runtime.Goexit",
		}, got.all())
		require.Equal(t, consumer.Stats{Handled: 1, Failed: 4, Unknown: 1}, w.Stats())
		stop()
		require.NoError(t, run())
	})
}

func TestWorkerGoesOnAfterErrorsOfTheLayer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inner := newLayer(t, layer.Limits{})
		var failures atomic.Int64
		failures.Store(3)
		l := &faulty{Layer: inner, receive: func(ctx context.Context, channel string) (layer.Message, error) {
			if channel == "a" && failures.Add(-1) >= 0 {
				return layer.Message{}, errAway
			}
			return inner.Receive(ctx, channel)
		}}
		var done journal[int64]
		var reported journal[error]
		w := newWorker(t, l, consumer.WorkerOptions{
			Channels: []string{"a", "b"}, Handlers: job(0, &done),
			OnError: func(_ layer.Message, err error) { reported.add(err) },
		})
		run := start(func() error { return w.Run(t.Context()) })
		send(t, l, "a", "job", 1)
		send(t, l, "b", "job", 2)
		synctest.Wait()
		require.Equal(t, []int64{2}, done.all(), "the other channel is served during the pause")
		time.Sleep(time.Second)
		require.Equal(t, []int64{2, 1}, done.all())
		require.Len(t, reported.all(), 3)
		var detail *layer.Error
		require.ErrorAs(t, reported.all()[0], &detail)
		require.Equal(t, layer.Error{Op: "receive", Name: "a", Err: errAway}, *detail)

		inner.Close()
		require.ErrorIs(t, run(), layer.ErrClosed)
	})
}

func TestLayerClosedWhileHandling(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLayer(t, layer.Limits{})
		var done journal[int64]
		w := newWorker(t, l, consumer.WorkerOptions{Channels: []string{"a", "b"}, Handlers: job(time.Second, &done)})
		run := start(func() error { return w.Run(t.Context()) })
		send(t, l, "a", "job", 1)
		synctest.Wait()
		l.Close()
		require.ErrorIs(t, run(), layer.ErrClosed)
		require.Equal(t, []int64{1}, done.all(), "a handler under way is waited for")
	})
}
