package faults

import (
	"context"
	"fmt"
	"net"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/channellayer/channellayer/internal/faultproxy"
	"github.com/channellayer/channellayer/internal/redistest"
	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/redislayer"
)

// These tests look at single calls, and at what one fault does to them.

func open(t *testing.T, addr string, o redislayer.Options) *redislayer.Layer {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	l, err := redislayer.Open(ctx, "redis://"+addr, o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.Close()) })
	return l
}

func newChannel(t *testing.T, l layer.Layer) string {
	t.Helper()
	name, err := l.NewChannel(t.Context(), "")
	require.NoError(t, err)
	return name
}

func numbered(n int) layer.Message { return layer.NewMessage(map[string]any{"n": n}) }

func receive(t *testing.T, l layer.Layer, channel string) int {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	msg, err := l.Receive(ctx, channel)
	require.NoError(t, err)
	return int(msg.Int("n"))
}

// soon waits until a send or another call succeeds.
func soon(t *testing.T, call func() error) {
	t.Helper()
	var err error
	require.True(t, wait(20*time.Second, func() bool { err = call(); return err == nil }), "it goes on failing: %v", err)
}

// TestAway is about calls made while Redis is away: they fail at once and were
// certainly not sent, and what needs no Redis goes on.
func TestAway(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, redistest.Config{})
	a, b := open(t, server.Addr(), redislayer.Options{}), open(t, server.Addr(), redislayer.Options{})
	own, own2, foreign, ctx := newChannel(t, a), newChannel(t, a), newChannel(t, b), t.Context()
	for _, channel := range []string{own, own2, foreign, "jobs"} {
		require.NoError(t, a.GroupAdd(ctx, "group", channel))
	}
	server.Kill()
	require.True(t, wait(10*time.Second, func() bool { return outcomeOf(a.Send(ctx, foreign, numbered(-1))) == NotSent }))

	const calls = 300
	began := time.Now()
	for i := range calls {
		for name, err := range map[string]error{
			"send":        a.Send(ctx, foreign, numbered(i)),
			"normal send": a.Send(ctx, "normal", numbered(i)),
			"group send":  a.GroupSend(ctx, "nobody-here", numbered(i)),
		} {
			require.ErrorIs(t, err, layer.ErrUnavailable, name)
			require.Equal(t, NotSent, outcomeOf(err), "%s: %v", name, err)
		}
		require.ErrorIs(t, a.GroupAdd(ctx, "group-2", foreign), layer.ErrUnavailable)
	}
	require.Less(t, time.Since(began), 3*time.Second, "%d calls, each of which should fail at once", 4*calls)

	began = time.Now()
	for i := range 50 {
		require.NoError(t, a.Send(ctx, own, numbered(i)))
		require.Equal(t, i, receive(t, a, own))
		err := a.GroupSend(ctx, "group", numbered(i))
		require.Equal(t, MaybeSent, outcomeOf(err), "members here have it, those elsewhere do not: %v", err)
		require.Equal(t, i, receive(t, a, own))
		require.Equal(t, i, receive(t, a, own2))
	}
	require.Less(t, time.Since(began), 3*time.Second, "what goes on within a process")
	late := newChannel(t, a)
	require.NoError(t, a.GroupDiscard(ctx, "group", own2))

	server.RestartEmpty(t)
	soon(t, func() error { return a.Send(ctx, foreign, numbered(1000)) })
	require.Equal(t, 1000, receive(t, b, foreign), "nothing that was certainly not sent has arrived")
	soon(t, func() error { return b.Send(ctx, late, numbered(1001)) })
	require.Equal(t, 1001, receive(t, a, late))
	soon(t, func() error { return b.GroupSend(ctx, "group", numbered(1002)) })
	require.Equal(t, 1002, receive(t, b, foreign), "a member of a group")
	require.Equal(t, 1002, receive(t, b, "jobs"), "a normal channel in a group")
}

// TestNothingIsRepeated counts what Redis executes while every reply is lost.
func TestNothingIsRepeated(t *testing.T) {
	t.Parallel()
	const calls = 15
	server := redistest.Start(t, redistest.Config{})
	proxy := faultproxy.New(t, server.Addr())
	a, b := open(t, proxy.Addr(), redislayer.Options{}), open(t, server.Addr(), redislayer.Options{})
	channel, ctx := newChannel(t, b), t.Context()
	require.NoError(t, b.GroupAdd(ctx, "group", channel))
	client := server.Client(t)

	for name, test := range map[string]struct {
		command, key, channel string
		send                  func(n int) error
	}{
		"send":        {"xadd", ":inbox:", channel, func(n int) error { return a.Send(ctx, channel, numbered(n)) }},
		"group send":  {"xadd", ":group:", channel, func(n int) error { return a.GroupSend(ctx, "group", numbered(n)) }},
		"normal send": {"zadd", ":queue:", "normal", func(n int) error { return a.Send(ctx, "normal", numbered(n)) }},
	} {
		t.Run(name, func(t *testing.T) {
			soon(t, func() error { return a.Ping(ctx) })
			require.NoError(t, client.ConfigResetStat(ctx).Err())
			for n := range calls {
				soon(t, func() error { return a.Ping(ctx) })
				struck := proxy.DropReplies(1, containing("EVALSHA", test.key))
				err := test.send(n)
				require.Equal(t, MaybeSent, outcomeOf(err), "the reply was lost: %v", err)
				<-struck
			}
			require.Equal(t, calls, executed(t, server, test.command), "%ss that Redis ran, after %d sends whose replies were lost", test.command, calls)
			for n := range calls {
				require.Equal(t, n, receive(t, b, test.channel), "in order, each once")
			}
		})
	}

	t.Run("receive", func(t *testing.T) { // from a normal channel, which removes
		for n := range calls {
			soon(t, func() error { return b.Send(ctx, "jobs", numbered(n)) })
		}
		for n := range calls {
			soon(t, func() error { return a.Ping(ctx) })
			proxy.DropReplies(1, containing("EVALSHA", ":waiting:"))
			require.Equal(t, n, receive(t, a, "jobs"), "each once, though the reply about the receiver was lost")
			proxy.Heal()
		}
	})
}

// executed is how often Redis ran a command and did not refuse it, as it does
// when a layer checks its rights.
func executed(t *testing.T, server *redistest.Server, command string) int {
	t.Helper()
	stats := server.Info(t, "commandstats")["cmdstat_"+command]
	count := func(name string) (n int) {
		_, rest, _ := strings.Cut(","+stats, ","+name+"=")
		_, err := fmt.Sscan(strings.ReplaceAll(rest, ",", " "), &n)
		require.NoError(t, err, "%s in %s", name, stats)
		return n
	}
	return count("calls") - count("failed_calls") - count("rejected_calls")
}

// TestLateExecution is about a send that Redis runs after its successor.
func TestLateExecution(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, redistest.Config{})
	first, second := faultproxy.New(t, server.Addr()), faultproxy.New(t, server.Addr())
	var route atomic.Pointer[faultproxy.Proxy]
	route.Store(first)
	client := redis.NewClient(&redis.Options{
		Addr: server.Addr(),
		Dialer: func(ctx context.Context, network, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, network, route.Load().Addr())
		},
	})
	defer client.Close()
	a, err := redislayer.New(client, redislayer.Options{Timeout: time.Second})
	require.NoError(t, err)
	defer a.Close()
	var late atomic.Int32
	b := open(t, server.Addr(), redislayer.Options{Observer: layer.Observer{Dropped: func(reason layer.DropReason, _ string, n int) {
		if reason == layer.DropLate {
			late.Add(int32(n))
		}
	}}})
	channel, ctx := newChannel(t, b), t.Context()
	require.NoError(t, b.GroupAdd(ctx, "group", channel))
	soon(t, func() error { return a.Send(ctx, channel, numbered(0)) })
	require.Equal(t, 0, receive(t, b, channel))

	first.BlackHole(faultproxy.ToServer)
	route.Store(second)
	err = a.Send(ctx, channel, numbered(1))
	require.Equal(t, MaybeSent, outcomeOf(err), "it is under way: %v", err)
	soon(t, func() error { return a.GroupSend(ctx, "group", numbered(2)) })
	require.Equal(t, 2, receive(t, b, channel))
	first.Heal() // now Redis gets the first one
	require.True(t, wait(10*time.Second, func() bool { return late.Load() == 1 }), "dropped as late: %d, want 1", late.Load())
	require.NoError(t, a.Send(ctx, channel, numbered(3)))
	require.Equal(t, 3, receive(t, b, channel))
}

// TestCloseWhileAway leaves nothing that the lease does not remove.
func TestCloseWhileAway(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, redistest.Config{})
	proxy := faultproxy.New(t, server.Addr())
	const timeout, lease = 500 * time.Millisecond, 2 * time.Second
	for name, fault := range map[string]func(){
		"refused":    func() { proxy.Refuse(); proxy.Cut(faultproxy.Any, true) },
		"black hole": func() { proxy.BlackHole(faultproxy.Both) },
	} {
		t.Run(name, func(t *testing.T) {
			a := open(t, proxy.Addr(), redislayer.Options{Timeout: timeout, Lease: lease, Limits: layer.Limits{GroupExpiry: time.Second}})
			channel := newChannel(t, a)
			require.NoError(t, a.GroupAdd(t.Context(), "group", channel))
			woken := make(chan error, 2)
			for _, c := range []string{channel, "normal"} {
				go func() {
					_, err := a.Receive(context.Background(), c)
					woken <- err
				}()
			}
			client := server.Client(t)
			require.True(t, wait(10*time.Second, func() bool { return client.Exists(t.Context(), "channellayer:waiting:normal").Val() == 1 }))
			fault()
			began := time.Now()
			require.NoError(t, a.Close())
			require.Less(t, time.Since(began), timeout+2*time.Second, "Close waits for its timeout of %v at most", timeout)
			for range 2 {
				require.ErrorIs(t, <-woken, layer.ErrClosed)
			}
			proxy.Heal()
			var keys []string
			require.True(t, wait(2*lease+10*time.Second, func() bool {
				keys = client.Keys(t.Context(), "*").Val()
				return len(keys) == 0
			}), "keys that no lease removed: %v", keys)
		})
	}
}

// TestMemoryWhileAway sends for a while with contexts that end, into a network
// that swallows all: what nobody waits for any more must not pile up.
func TestMemoryWhileAway(t *testing.T) {
	server := redistest.Start(t, redistest.Config{})
	proxy := faultproxy.New(t, server.Addr())
	a := open(t, proxy.Addr(), redislayer.Options{})
	b := open(t, server.Addr(), redislayer.Options{})
	channel := newChannel(t, b)
	msg := layer.NewMessage(map[string]any{"body": make([]byte, 100_000)})
	require.NoError(t, a.Send(t.Context(), channel, msg))
	before := heap()
	proxy.BlackHole(faultproxy.Both)
	var sends atomic.Int64
	var sending sync.WaitGroup
	stop := time.Now().Add(1500 * time.Millisecond) // before the layer notices
	for range 32 {
		sending.Go(func() {
			for time.Now().Before(stop) {
				ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
				if outcomeOf(a.Send(ctx, channel, msg)) == Accepted {
					t.Error("a send was accepted by a black hole")
				}
				cancel()
				sends.Add(1)
			}
		})
	}
	sending.Wait()
	grown := heap() - before
	t.Logf("%d sends, %d MB more", sends.Load(), grown>>20)
	require.Greater(t, sends.Load(), int64(300), "sends")
	require.Less(t, grown, int64(24<<20), "%d sends of 100 kB, all given up, one batch of which is under way", sends.Load())
	proxy.Heal()
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestInboxOfADeafProcess fills to its bound and no further.
func TestInboxOfADeafProcess(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, redistest.Config{})
	proxy := faultproxy.New(t, server.Addr())
	const capacity = 500
	o := redislayer.Options{InboxCapacity: capacity, Limits: layer.Limits{Capacity: 10 * capacity}}
	a, b := open(t, server.Addr(), o), open(t, proxy.Addr(), o)
	channel := newChannel(t, b)
	require.NoError(t, a.Send(t.Context(), channel, numbered(0)))
	require.Equal(t, 0, receive(t, b, channel))
	proxy.BlackHole(faultproxy.ToClient)
	accepted := 0
	for n := 1; ; n++ {
		err := a.Send(t.Context(), channel, numbered(n))
		if err != nil {
			require.ErrorIs(t, err, layer.ErrInboxFull)
			break
		}
		accepted++
		require.LessOrEqual(t, accepted, 2*capacity, "messages in an inbox that nobody reads")
	}
	require.Positive(t, accepted)
	proxy.Heal()
	for n := 1; n <= accepted; n++ {
		require.Equal(t, n, receive(t, b, channel), "all that was accepted arrives in the end")
	}
	soon(t, func() error { return a.Send(t.Context(), channel, numbered(0)) })
}
