package consumer_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"weak"

	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/layer/consumer"
	"github.com/stretchr/testify/require"
)

// reaches reports whether a group send now reaches the consumer.
func reaches(t *testing.T, l layer.Layer, c *consumer.Consumer, group string) bool {
	t.Helper()
	probe := message(rand.Text(), 0)
	require.NoError(t, l.GroupSend(t.Context(), group, probe))
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	for msg, err := range c.Messages(ctx) {
		if err != nil {
			require.ErrorIs(t, err, context.DeadlineExceeded)
			break
		}
		if msg.Equal(probe) {
			return true
		}
	}
	return false
}

func TestJoinAndLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLayer(t, layer.Limits{})
		c := open(t, l, consumer.Options{})
		require.Empty(t, c.Groups())
		require.NoError(t, c.Join(t.Context(), "b"))
		require.NoError(t, c.Join(t.Context(), "a"))
		require.NoError(t, c.Join(t.Context(), "a"))
		require.Equal(t, []string{"a", "b"}, c.Groups())
		require.True(t, reaches(t, l, c, "a"))

		require.NoError(t, c.Leave(t.Context(), "a"))
		require.NoError(t, c.Leave(t.Context(), "never-joined"))
		require.Equal(t, []string{"b"}, c.Groups())
		require.False(t, reaches(t, l, c, "a"))
		require.True(t, reaches(t, l, c, "b"))

		require.ErrorIs(t, c.Join(t.Context(), "no such name"), layer.ErrInvalidName)
		require.ErrorIs(t, c.Leave(t.Context(), "no such name"), layer.ErrInvalidName)
		require.ErrorIs(t, c.Join(canceled(), "c"), context.Canceled)
		require.Equal(t, []string{"b"}, c.Groups())
	})
}

func TestRenewalOutlastsGroupExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const expiry = time.Hour
		l := newLayer(t, layer.Limits{GroupExpiry: expiry})
		renewed := open(t, l, consumer.Options{Renew: expiry / 2})
		forgotten := open(t, l, consumer.Options{Renew: 2 * expiry})
		for _, c := range []*consumer.Consumer{renewed, forgotten} {
			require.NoError(t, c.Join(t.Context(), "stay"))
			require.NoError(t, c.Join(t.Context(), "go"))
		}
		time.Sleep(expiry / 4)
		require.NoError(t, renewed.Leave(t.Context(), "go"))
		time.Sleep(expiry)
		require.False(t, reaches(t, l, forgotten, "stay"), "a membership that was not renewed in %v", expiry*5/4)
		for range 10 {
			require.True(t, reaches(t, l, renewed, "stay"))
			require.False(t, reaches(t, l, renewed, "go"), "it was left")
			time.Sleep(expiry)
		}
	})
}

// adds is a layer that notes when groups are added, and refuses while away.
type adds struct {
	journal journal[string]
	away    atomic.Bool
}

func (a *adds) on(l layer.Layer) *faulty {
	begin := time.Now()
	return &faulty{Layer: l, groupAdd: func(ctx context.Context, group, channel string) error {
		a.journal.add(fmt.Sprint(group, " ", time.Since(begin).Round(time.Hour)))
		if a.away.Load() {
			return errAway
		}
		return l.GroupAdd(ctx, group, channel)
	}}
}

func TestNoRenewalWithoutAGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var a adds
		c := open(t, a.on(newLayer(t, layer.Limits{})), consumer.Options{Renew: 10 * time.Hour})
		require.NoError(t, c.Join(t.Context(), "g"))
		require.NoError(t, c.Leave(t.Context(), "g"))
		time.Sleep(95 * time.Hour)
		require.NoError(t, c.Join(t.Context(), "g"))
		time.Sleep(5 * time.Hour)
		require.Equal(t, []string{"g 0s", "g 95h0m0s"}, a.journal.all())
		require.NoError(t, c.Leave(t.Context(), "g"))
		require.NoError(t, c.Join(t.Context(), "g")) // at 100 h
		time.Sleep(8 * time.Hour)
		require.Len(t, a.journal.all(), 3, "additions 8 h after the only group was joined again")
		c.Close()
		time.Sleep(100 * time.Hour)
		require.Len(t, a.journal.all(), 3, "additions after Close")
	})
}

func TestRenewalDoesNotUndoLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inner := newLayer(t, layer.Limits{Capacity: 1})
		renewing := make(chan string)
		var slow atomic.Bool
		l := &faulty{Layer: inner, groupAdd: func(ctx context.Context, group, channel string) error {
			if slow.Load() {
				renewing <- group
			}
			return inner.GroupAdd(ctx, group, channel)
		}}
		c := open(t, l, consumer.Options{})
		require.NoError(t, c.Join(t.Context(), "a"))
		require.NoError(t, c.Join(t.Context(), "b"))
		slow.Store(true)
		time.Sleep(consumer.DefaultRenew) // a's renewal is under way
		leave := start(func() error { return c.Leave(t.Context(), "b") })
		synctest.Wait()
		require.Equal(t, "a", <-renewing)
		require.NoError(t, leave())
		synctest.Wait()
		select {
		case group := <-renewing:
			t.Errorf("%s was added again after it was left", group)
		default:
		}
		require.False(t, members(t, inner, "b"))
	})
}

// Neither a timer nor a reader's ctx, which may last for long, keeps it.
func TestNothingHoldsAClosedConsumer(t *testing.T) {
	l := newLayer(t, layer.Limits{})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	c, err := consumer.Open(ctx, l, consumer.Options{})
	require.NoError(t, err)
	require.NoError(t, c.Join(ctx, "g"))
	send(t, l, c.Channel(), "x", 1)
	_, err = c.Receive(ctx)
	require.NoError(t, err)
	require.NoError(t, c.Close())

	held := weak.Make(c)
	deadline := time.Now().Add(10 * time.Second)
	for runtime.GC(); held.Value() != nil; runtime.GC() {
		if time.Now().After(deadline) {
			t.Fatal("a closed consumer is not collected")
		}
	}
}

func TestFailedRenewalIsReportedAndTriedAgainSooner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var a adds
		var reported journal[error]
		c := open(t, a.on(newLayer(t, layer.Limits{})), consumer.Options{
			Renew:   120 * time.Hour,
			OnError: func(msg layer.Message, err error) { reported.add(err) },
		})
		require.NoError(t, c.Join(t.Context(), "g"))
		a.away.Store(true)
		time.Sleep(121 * time.Hour)
		a.away.Store(false)
		failed := len(reported.all())
		require.True(t, 1 <= failed && failed <= 3, "failures after %v", a.journal.all())
		var detail *layer.Error
		require.ErrorAs(t, reported.all()[0], &detail)
		require.Equal(t, layer.Error{Op: "renew membership", Name: "g", Err: errAway}, *detail)
		require.Equal(t, consumer.Stats{Retried: uint64(failed)}, c.Stats())

		time.Sleep(11 * time.Hour) // past the next try, which comes within a twelfth
		require.Len(t, reported.all(), failed)
		require.Len(t, a.journal.all(), 1+failed+1, "additions: %v", a.journal.all())
		require.Equal(t, []string{"g"}, c.Groups())
	})
}

func TestOnErrorOfARenewalMayCloseTheConsumer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var a adds
		var c *consumer.Consumer
		closed := make(chan error, 1)
		c = open(t, a.on(newLayer(t, layer.Limits{})), consumer.Options{
			OnError: func(layer.Message, error) { closed <- c.Close() },
		})
		require.NoError(t, c.Join(t.Context(), "g"))
		a.away.Store(true)
		require.NoError(t, <-closed)
	})
}

// members reports whether a group has a member that nobody reads, on a layer
// whose channels hold one message: it is full after the first.
func members(t *testing.T, l layer.Layer, group string) bool {
	t.Helper()
	before, _ := layer.ReadStats(l)
	require.NoError(t, l.GroupSend(t.Context(), group, message("probe", 0)))
	require.NoError(t, l.GroupSend(t.Context(), group, message("probe", 0)))
	after, _ := layer.ReadStats(l)
	return after.Dropped[layer.DropFull] > before.Dropped[layer.DropFull]
}

func TestCloseLeavesEveryGroup(t *testing.T) {
	for name, wrap := range map[string]func(layer.Layer) layer.Layer{
		"a layer that releases": func(l layer.Layer) layer.Layer { return l },
		"a layer that cannot":   func(l layer.Layer) layer.Layer { return &faulty{Layer: l} },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				inner := newLayer(t, layer.Limits{Capacity: 1})
				l := wrap(inner)
				c := open(t, l, consumer.Options{})
				require.NoError(t, c.Join(t.Context(), "a"))
				require.NoError(t, c.Join(t.Context(), "b"))
				receive := start(func() error { _, err := c.Receive(context.Background()); return err })
				batch := start(func() error {
					_, err := c.ReceiveBatch(t.Context(), make([]layer.Message, 1))
					return err
				})
				synctest.Wait()

				require.NoError(t, c.Close())
				require.ErrorIs(t, receive(), layer.ErrClosed, "a Receive that waited")
				require.ErrorIs(t, batch(), layer.ErrClosed, "a ReceiveBatch that waited")
				require.False(t, members(t, inner, "a"), "a membership after Close")
				require.False(t, members(t, inner, "b"), "a membership after Close")
				require.Empty(t, c.Groups())

				require.NoError(t, c.Close(), "again")
				_, err := c.Receive(t.Context())
				require.ErrorIs(t, err, layer.ErrClosed)
				require.ErrorIs(t, c.Join(t.Context(), "a"), layer.ErrClosed)
				require.ErrorIs(t, c.Leave(t.Context(), "a"), layer.ErrClosed)
				require.False(t, members(t, inner, "a"))
				_, err = c.Receive(canceled())
				require.ErrorIs(t, err, context.Canceled, "the caller's ctx comes first")
			})
		})
	}
}

func TestCloseAfterTheLayer(t *testing.T) {
	l := newLayer(t, layer.Limits{})
	c := open(t, l, consumer.Options{})
	require.NoError(t, c.Join(t.Context(), "a"))
	l.Close()
	require.ErrorIs(t, c.Join(t.Context(), "b"), layer.ErrClosed)
	require.NoError(t, c.Close())
}

// A GroupAdd whose outcome is unknown may have made a member.
func TestCloseLeavesGroupsOfFailedJoins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inner := newLayer(t, layer.Limits{Capacity: 1})
		l := &faulty{Layer: inner}
		l.groupAdd = func(ctx context.Context, group, channel string) error {
			require.NoError(t, inner.GroupAdd(ctx, group, channel))
			return errAway
		}
		c := open(t, l, consumer.Options{})
		require.ErrorIs(t, c.Join(t.Context(), "a"), errAway)
		require.Empty(t, c.Groups())
		require.NoError(t, c.Close())
		require.False(t, members(t, inner, "a"))
	})
}

func TestCloseEndsAJoinThatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inner := newLayer(t, layer.Limits{Capacity: 1})
		l := &faulty{Layer: inner, groupAdd: func(ctx context.Context, group, channel string) error {
			<-ctx.Done()
			inner.GroupAdd(context.Background(), group, channel) // too late, but it happens
			return ctx.Err()
		}}
		c := open(t, l, consumer.Options{})
		joins := []func() error{
			start(func() error { return c.Join(context.Background(), "under-way") }),
			start(func() error { return c.Join(context.Background(), "in-line") }),
		}
		synctest.Wait()
		require.NoError(t, c.Close())
		for _, join := range joins {
			require.ErrorIs(t, join(), layer.ErrClosed)
		}
		require.False(t, members(t, inner, "under-way"))
		require.False(t, members(t, inner, "in-line"))
	})
}

func TestCloseIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		inner := newLayer(t, layer.Limits{})
		l := &faulty{Layer: inner, groupAdd: func(context.Context, string, string) error {
			<-release // heedless of ctx
			return nil
		}}
		c := open(t, l, consumer.Options{})
		join := start(func() error { return c.Join(t.Context(), "g") })
		synctest.Wait()
		begin := time.Now()
		require.ErrorIs(t, c.Close(), context.DeadlineExceeded)
		require.Equal(t, 5*time.Second, time.Since(begin))
		close(release)
		join()
	})
}

// Whatever the interleaving, no membership outlives Close.
func TestJoinRacingClose(t *testing.T) {
	for name, wrap := range map[string]func(layer.Layer) layer.Layer{
		"a layer that releases": func(l layer.Layer) layer.Layer { return l },
		"a layer that cannot":   func(l layer.Layer) layer.Layer { return &faulty{Layer: l} },
	} {
		t.Run(name, func(t *testing.T) {
			inner := newLayer(t, layer.Limits{Capacity: 1})
			l := wrap(inner)
			for i := range 300 {
				group := fmt.Sprint("g", i)
				c, err := consumer.Open(t.Context(), l, consumer.Options{Renew: time.Microsecond})
				require.NoError(t, err)
				var all sync.WaitGroup
				all.Go(func() { c.Join(t.Context(), group) })
				all.Go(func() { c.Join(t.Context(), group) })
				all.Go(func() { c.Receive(t.Context()) })
				all.Go(func() { c.Leave(t.Context(), group) })
				all.Go(func() { c.Close() })
				all.Go(func() {
					c.Close()
					if members(t, inner, group) {
						t.Errorf("round %d: a member of %s after Close returned", i, group)
					}
				})
				all.Wait()
			}
		})
	}
}
