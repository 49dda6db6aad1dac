package consumer_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/layer/consumer"
	"github.com/stretchr/testify/require"
)

func TestOpenRefusesBadOptions(t *testing.T) {
	l := newLayer(t, layer.Limits{})
	for name, tc := range map[string]struct {
		layer   layer.Layer
		options consumer.Options
		want    error
	}{
		"no layer":       {nil, consumer.Options{}, layer.ErrInvalidOption},
		"negative Renew": {l, consumer.Options{Renew: -1}, layer.ErrInvalidOption},
		"nil handler":    {l, consumer.Options{Handlers: map[string]consumer.Handler{"x": nil}}, layer.ErrInvalidOption},
		"bad prefix":     {l, consumer.Options{Prefix: "a b"}, layer.ErrInvalidName},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := consumer.Open(t.Context(), tc.layer, tc.options)
			require.ErrorIs(t, err, tc.want)
		})
	}
}

func TestRunDispatchesInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLayer(t, layer.Limits{})
		var got journal[string]
		handle := func(_ context.Context, msg layer.Message) error {
			got.add(fmt.Sprint(msg.Type(), msg.Int("n")))
			return nil
		}
		handlers := map[string]consumer.Handler{"a": handle, "b": handle, "": handle}
		c := open(t, l, consumer.Options{
			Handlers:  handlers,
			OnUnknown: func(msg layer.Message) { got.add("unknown " + msg.Type()) },
		})
		clear(handlers) // the consumer has its own
		ctx, stop := context.WithCancel(t.Context())
		run := start(func() error { return c.Run(ctx) })

		for i, kind := range []string{"a", "b", "c", "a"} {
			send(t, l, c.Channel(), kind, i)
		}
		require.NoError(t, l.Send(t.Context(), c.Channel(), layer.NewMessage(map[string]any{"n": 4})))
		synctest.Wait()
		require.Equal(t, []string{"a0", "b1", "unknown c", "a3", "4"}, got.all())
		require.Equal(t, consumer.Stats{Handled: 4, Unknown: 1}, c.Stats())

		stop()
		require.NoError(t, run(), "Run after ctx ended")
	})
}

func TestHandlerFailuresAreContained(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLayer(t, layer.Limits{})
		var got journal[error]
		c := open(t, l, consumer.Options{
			Handlers: map[string]consumer.Handler{
				"error":     func(context.Context, layer.Message) error { return errAway },
				"panic":     func(context.Context, layer.Message) error { panic("seen in the stack") },
				"panic err": func(context.Context, layer.Message) error { panic(errAway) },
				"panic nil": func(context.Context, layer.Message) error { panic(nil) },
				"fine":      func(context.Context, layer.Message) error { return nil },
			},
			OnUnknown: func(layer.Message) { panic("OnUnknown runs as a handler does") },
			OnError: func(msg layer.Message, err error) {
				got.add(fmt.Errorf("%s: %w", msg.Type(), err))
			},
		})
		ctx, stop := context.WithCancel(t.Context())
		run := start(func() error { return c.Run(ctx) })
		for i, kind := range []string{"error", "panic", "panic err", "panic nil", "other", "fine"} {
			send(t, l, c.Channel(), kind, i)
		}
		synctest.Wait()
		stop()
		require.NoError(t, run())

		errs := got.all()
		require.Len(t, errs, 5)
		require.ErrorIs(t, errs[0], errAway)
		var panicked *consumer.PanicError
		require.ErrorAs(t, errs[1], &panicked)
		require.Equal(t, "seen in the stack", panicked.Value)
		require.Contains(t, string(panicked.Stack), "TestHandlerFailuresAreContained")
		require.ErrorContains(t, errs[1], "seen in the stack")
		require.ErrorIs(t, errs[2], errAway, "what a handler panicked with, if an error, is found by errors.Is")
		var nilPanic *runtime.PanicNilError
		require.ErrorAs(t, errs[3], &nilPanic)
		require.ErrorContains(t, errs[4], "OnUnknown runs as a handler does")
		require.Equal(t, consumer.Stats{Handled: 1, Failed: 5, Unknown: 1}, c.Stats())
	})
}

func TestFailuresAreCountedWithoutCallbacks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLayer(t, layer.Limits{})
		c := open(t, l, consumer.Options{Handlers: map[string]consumer.Handler{
			"panic": func(context.Context, layer.Message) error { panic("contained") },
		}})
		run := start(func() error { return c.Run(context.Background()) })
		send(t, l, c.Channel(), "panic", 1)
		send(t, l, c.Channel(), "other", 2)
		synctest.Wait()
		require.Equal(t, consumer.Stats{Failed: 1, Unknown: 1}, c.Stats())
		c.Close()
		require.ErrorIs(t, run(), layer.ErrClosed)
	})
}

func TestGoexitInAHandlerEndsRun(t *testing.T) {
	l := newLayer(t, layer.Limits{})
	var got journal[error]
	c := open(t, l, consumer.Options{
		Handlers: map[string]consumer.Handler{
			"exit": func(context.Context, layer.Message) error { runtime.Goexit(); return nil },
		},
		OnError: func(_ layer.Message, err error) { got.add(err) },
	})
	send(t, l, c.Channel(), "exit", 1)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		c.Run(context.Background())
	}()
	<-ended
	require.Equal(t, []error{consumer.ErrGoexit}, got.all())
	send(t, l, c.Channel(), "next", 2)
	msg, err := c.Receive(t.Context())
	require.NoError(t, err)
	require.Equal(t, int64(2), msg.Int("n"), "the consumer goes on after Goexit ended Run")
}

func TestReceive(t *testing.T) {
	l := newLayer(t, layer.Limits{})
	c := open(t, l, consumer.Options{Prefix: "socket"})
	require.True(t, strings.HasPrefix(c.Channel(), "socket"), "channel %q", c.Channel())
	for i := range 5 {
		send(t, l, c.Channel(), "x", i)
	}
	msg, err := c.Receive(t.Context())
	require.NoError(t, err)
	require.Equal(t, int64(0), msg.Int("n"))

	buf := make([]layer.Message, 3)
	n, err := c.ReceiveBatch(t.Context(), buf)
	require.NoError(t, err)
	require.Equal(t, 3, n)
	require.Equal(t, int64(3), buf[2].Int("n"))

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var seen []string
	for msg, err := range c.Messages(ctx) {
		seen = append(seen, fmt.Sprint(msg.Int("n"), err))
		cancel()
	}
	require.Equal(t, []string{"4 <nil>", "0 context canceled"}, seen)
}

// A consumer keeps the last reader's ctx, so what other readers pass, at once
// or afterwards, must count all the same.
func TestReceiveHonoursEachCallersContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLayer(t, layer.Limits{})
		c := open(t, l, consumer.Options{})
		receive := func(ctx context.Context) func() error {
			return start(func() error { _, err := c.Receive(ctx); return err })
		}
		for round := range 3 {
			first, endFirst := context.WithCancel(t.Context())
			second, endSecond := context.WithTimeout(t.Context(), time.Second)
			waitFirst, waitSecond := receive(first), receive(second)
			synctest.Wait()
			require.ErrorIsf(t, waitSecond(), context.DeadlineExceeded, "round %d", round)
			endFirst()
			require.ErrorIsf(t, waitFirst(), context.Canceled, "round %d", round)
			require.ErrorIsf(t, receive(first)(), context.Canceled, "round %d: ctx ended before", round)
			endSecond()
		}
		send(t, l, c.Channel(), "x", 7)
		msg, err := c.Receive(uncomparable{t.Context(), nil})
		require.NoError(t, err)
		require.Equal(t, int64(7), msg.Int("n"), "no cancelled Receive took the message")
		_, err = c.ReceiveBatch(uncomparable{canceled(), nil}, make([]layer.Message, 1))
		require.ErrorIs(t, err, context.Canceled)
	})
}

type uncomparable struct {
	context.Context
	_ []int
}

func canceled() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

func TestRunGoesOnAfterErrorsOfTheLayer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inner := newLayer(t, layer.Limits{})
		failures := 4
		l := &faulty{Layer: inner, receive: func(ctx context.Context, channel string) (layer.Message, error) {
			if failures--; failures >= 0 {
				return layer.Message{}, errAway
			}
			return inner.Receive(ctx, channel)
		}}
		var reported journal[error]
		handled := make(chan time.Time, 1)
		c := open(t, l, consumer.Options{
			Handlers: map[string]consumer.Handler{
				"x": func(context.Context, layer.Message) error { handled <- time.Now(); return nil },
			},
			OnError: func(_ layer.Message, err error) { reported.add(err) },
		})
		send(t, l, c.Channel(), "x", 1)
		begin := time.Now()
		run := start(func() error { return c.Run(context.Background()) })
		// Pauses of up to 100, 200, 400 and 800 ms, and at least half of that.
		took := (<-handled).Sub(begin)
		require.True(t, 750*time.Millisecond <= took && took <= 1500*time.Millisecond, "four errors took %v to get past", took)
		synctest.Wait() // until what was handled is counted
		require.Len(t, reported.all(), 4)
		var detail *layer.Error
		require.ErrorAs(t, reported.all()[0], &detail)
		require.Equal(t, layer.Error{Op: "receive", Name: c.Channel(), Err: errAway}, *detail)
		require.Equal(t, consumer.Stats{Handled: 1, Retried: 4}, c.Stats())
		c.Close()
		require.ErrorIs(t, run(), layer.ErrClosed)
	})
}

func TestRunEndsWithItsChannel(t *testing.T) {
	for name, tc := range map[string]struct {
		end  func(t *testing.T, l layer.Layer, c *consumer.Consumer)
		want error
	}{
		"consumer closed": {func(_ *testing.T, _ layer.Layer, c *consumer.Consumer) { c.Close() }, layer.ErrClosed},
		"layer closed":    {func(_ *testing.T, l layer.Layer, _ *consumer.Consumer) { l.Close() }, layer.ErrClosed},
		"channel gone": {func(t *testing.T, l layer.Layer, c *consumer.Consumer) {
			require.NoError(t, layer.Release(t.Context(), l, c.Channel()))
		}, layer.ErrChannelGone},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLayer(t, layer.Limits{})
				c := open(t, l, consumer.Options{})
				run := start(func() error { return c.Run(t.Context()) })
				synctest.Wait()
				tc.end(t, l, c)
				require.ErrorIs(t, run(), tc.want)
				require.NoError(t, c.Close())
			})
		})
	}
}

func TestHandlersMayUseTheConsumer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLayer(t, layer.Limits{})
		var c *consumer.Consumer
		var errs journal[error]
		c = open(t, l, consumer.Options{Handlers: map[string]consumer.Handler{
			"join": func(ctx context.Context, _ layer.Message) error {
				return errors.Join(c.Join(ctx, "room"), l.GroupSend(ctx, "room", message("leave", 2)))
			},
			"leave": func(ctx context.Context, _ layer.Message) error {
				return errors.Join(c.Leave(ctx, "room"), l.Send(ctx, c.Channel(), message("close", 3)))
			},
			"close": func(ctx context.Context, _ layer.Message) error {
				return errors.Join(c.Close(), ctx.Err()) // Run's ctx goes on
			},
		}, OnError: func(_ layer.Message, err error) { errs.add(err) }})
		send(t, l, c.Channel(), "join", 1)
		require.ErrorIs(t, c.Run(t.Context()), layer.ErrClosed)
		require.Empty(t, errs.all())
		require.Equal(t, uint64(3), c.Stats().Handled)
	})
}
