package redislayer

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/redislayer/internal/link"
)

// onMiniredis makes a layer whose connections to a server of its own are made.
func onMiniredis(t *testing.T, options Options) (*Layer, *miniredis.Miniredis) {
	t.Helper()
	server := miniredis.RunT(t)
	client := redis.NewClient(&redis.Options{Addr: server.Addr()})
	l, err := New(client, options)
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, l.Close())
		require.NoError(t, client.Close())
	})
	require.Eventually(t, func() bool { return l.Ping(t.Context()) == nil && server.TotalConnectionCount() == 2 },
		10*time.Second, time.Millisecond, "the session's connection, and the reader's")
	return l, server
}

// claim takes a caller's turn.
func claim(t *testing.T, s *session) (c *conn) {
	t.Helper()
	require.Eventually(t, func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		c = s.claimLocked()
		return c != nil
	}, 10*time.Second, 100*time.Microsecond, "the turn")
	return c
}

// The reply of one call names a normal channel, and then the connection breaks:
// the channel does not get the message, and who sent it is told.
func TestNormalMembersAreNotReached(t *testing.T) {
	s := apart(t, Options{}).session
	c := &conn{&link.Link{Pipe: pipeOf([]byte("*2\r\n:2\r\n$4\r\njobs\r\n"))}}
	named := func(group string) []*op { return []*op{{what: opGroup, where: group}} }
	callFor := func(groups ...[]*op) *call {
		c := &call{groups: groups, apply: s.applyGroups}
		for _, g := range groups {
			c.ops = append(c.ops, g...)
		}
		return c
	}
	without, with, unanswered := named("without"), named("with"), named("unanswered")
	calls := []*call{callFor(without, with), callFor(unanswered)}
	broken := receive(c, calls)
	require.Error(t, broken)
	require.Equal(t, broken, s.complete(t.Context(), c, calls, broken))
	require.NoError(t, without[0].err, "to a group without normal channels, answered")
	for _, group := range [][]*op{with, unanswered} {
		require.ErrorIs(t, group[0].err, layer.ErrUnavailable, "to group %s", group[0].where)
		require.True(t, group[0].maybe, "to group %s", group[0].where)
	}
}

// An observer that is told of a drop by a call may send, and does not harm the
// layer if it panics.
func TestObserverOnTheCallersGoroutine(t *testing.T) {
	var observe atomic.Pointer[func()]
	l, server := onMiniredis(t, Options{Observer: layer.Observer{Dropped: func(layer.DropReason, string, int) {
		if f := observe.Swap(nil); f != nil {
			(*f)()
		}
	}}})
	msg := layer.NewMessage(map[string]any{"type": "t"})
	connected := server.TotalConnectionCount()
	push := func(f func()) error {
		_, err := server.ZAdd(l.keys.queue("jobs"), 1, "of 1970")
		require.NoError(t, err)
		claim(t, l.session)
		l.session.release(nil, nil) // and so does the next
		observe.Store(&f)
		return l.Send(t.Context(), "jobs", msg)
	}
	require.PanicsWithValue(t, "observed", func() { _ = push(func() { panic("observed") }) })
	require.NoError(t, l.Send(t.Context(), "jobs", msg), "after a panic")

	began := time.Now()
	require.NoError(t, push(func() { require.NoError(t, l.Send(t.Context(), "jobs", msg), "by the observer") }))
	require.Less(t, time.Since(began), DefaultTimeout, "two sends, one inside the other")

	require.NoError(t, l.Ping(t.Context()))
	require.Equal(t, connected, server.TotalConnectionCount(), "connections made")
}

// panicky is a ctx that cannot be waited for, at some time.
type panicky struct {
	context.Context
	left *int // times that it can be asked for its end
}

func (p panicky) Done() <-chan struct{} {
	if *p.left--; *p.left < 0 {
		panic("no end")
	}
	return p.Context.Done()
}

// A ctx whose own methods panic costs its caller the reply, and nobody else
// anything.
func TestPanickyContext(t *testing.T) {
	l, server := onMiniredis(t, Options{})
	msg := layer.NewMessage(map[string]any{"type": "t"})
	connected := server.TotalConnectionCount()
	panics := 0
	for left := range 8 {
		claim(t, l.session)
		l.session.release(nil, nil) // and so does the next
		func() {
			defer func() {
				if recover() != nil {
					panics++
				}
			}()
			require.NoError(t, l.Send(panicky{t.Context(), &left}, "jobs", msg))
		}()
		require.NoError(t, l.Send(t.Context(), "jobs", msg), "after a panic")
	}
	require.Greater(t, panics, 2, "before, while and after the reply is read")
	queue, err := server.ZMembers(l.keys.queue("jobs"))
	require.NoError(t, err)
	require.Len(t, queue, 16, "what was sent, also with a ctx that panicked then")
	require.NoError(t, l.Ping(t.Context()))
	require.Equal(t, connected, server.TotalConnectionCount(), "connections made")
}

// Callers that leave at once, as when Redis hangs, do not hold each other up,
// and what they asked for is neither done nor kept.
func TestManyCallersLeave(t *testing.T) {
	l, server := onMiniredis(t, Options{})
	s := l.session
	claim(t, s)
	const many = 100_000
	ops := make([]*op, many)
	for i := range ops {
		ops[i] = &op{what: opPush, where: "jobs", body: []byte{0x80}, done: make(chan struct{}, 1)}
		require.NoError(t, s.enqueue(ops[i]))
	}
	began := time.Now()
	for i := range many {
		if i%1000 != 7 {
			require.True(t, s.withdraw(ops[i]), "operation %d", i)
		}
	}
	took := time.Since(began)
	s.mu.Lock()
	kept := s.queued.Len()
	s.mu.Unlock()
	s.release(nil, nil)
	for i := 7; i < many; i += 1000 {
		<-ops[i].done
		require.NoError(t, ops[i].err)
		require.False(t, s.withdraw(ops[i]), "once it was done")
	}
	queue, err := server.ZMembers(l.keys.queue("jobs"))
	require.NoError(t, err)
	require.Len(t, queue, many/1000, "what nobody waited for was not done")
	require.LessOrEqual(t, kept, 2*many/1000, "operations kept")
	require.Less(t, took, 2*time.Second, "withdrawing %d operations", many)
}
