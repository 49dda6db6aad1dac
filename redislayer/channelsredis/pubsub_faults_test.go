package channelsredis_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
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
	"github.com/channellayer/channellayer/redislayer/channelsredis"
)

// gapLog keeps what the observer was told.
type gapLog struct {
	mu   sync.Mutex
	gaps []struct{ from, to time.Time }
}

func (g *gapLog) observer() layer.Observer {
	return layer.Observer{Gap: func(from, to time.Time, _ string) {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.gaps = append(g.gaps, struct{ from, to time.Time }{from, to})
	}}
}

func (g *gapLog) count() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.gaps)
}

func TestPubSubRestart(t *testing.T) {
	server := redistest.Start(t, redistest.Config{})
	ctx := t.Context()
	var gaps gapLog
	l := openPubSub(t, []string{server.URL()}, channelsredis.Options{
		OnDisconnect: "redis.disconnect", OnReconnect: "redis.reconnect", Capacity: 1, Observer: gaps.observer(),
	})
	other := openPubSub(t, []string{server.URL()}, channelsredis.Options{})
	member, full := newOwn(t, l), newOwn(t, l)
	require.NoError(t, l.GroupAdd(ctx, "room", member))
	worker := make(chan layer.Message, 10)
	working, stop := context.WithCancel(ctx)
	var worked sync.WaitGroup
	worked.Go(func() {
		for msg, err := range layer.Messages(working, l, "jobs") {
			if err == nil {
				worker <- msg
			}
		}
	})
	defer worked.Wait()
	defer stop()
	require.NoError(t, l.Send(ctx, full, note(0)))

	before := time.Now()
	server.Kill()
	require.Equal(t, "redis.disconnect", next(t, l, member).Type())
	require.Zero(t, gaps.count(), "it is reported when memberships are restored")
	server.Restart(t)
	require.Equal(t, "redis.reconnect", next(t, l, member).Type())
	soon(t, "a gap", func() bool { return gaps.count() == 1 })
	g := gaps.gaps[0]
	require.True(t, g.from.Before(time.Now()) && g.to.After(before) && g.from.Before(g.to), "from %v to %v", g.from, g.to)

	soon(t, "the other to be connected", func() bool { return other.Ping(ctx) == nil })
	require.NoError(t, other.GroupSend(ctx, "room", note(1)))
	require.EqualValues(t, 1, next(t, l, member).Int("n"))
	require.NoError(t, other.Send(ctx, "jobs", note(2)))
	require.EqualValues(t, 2, (<-worker).Int("n"))
	require.EqualValues(t, 0, next(t, l, full).Int("n"))
	require.Equal(t, "redis.reconnect", next(t, l, full).Type(), "it has a place of its own in a full mailbox")
	require.Equal(t, 1, gaps.count())
}

// A connection that is open and silent is given up, and what was lost with it is
// reported.
func TestPubSubDeafConnection(t *testing.T) {
	server := redistest.Start(t, redistest.Config{})
	proxy := faultproxy.New(t, server.Addr())
	ctx := t.Context()
	var gaps gapLog
	l := openPubSub(t, []string{"redis://" + proxy.Addr()}, channelsredis.Options{Timeout: 500 * time.Millisecond, Observer: gaps.observer()})
	other := openPubSub(t, []string{server.URL()}, channelsredis.Options{})
	member := newOwn(t, l)
	require.NoError(t, l.GroupAdd(ctx, "room", member))
	require.Positive(t, proxy.Deafen(faultproxy.Containing("SUBSCRIBE")))
	begun := time.Now()
	require.NoError(t, other.GroupSend(ctx, "room", note(0)))
	soon(t, "a gap", func() bool { return gaps.count() == 1 })
	require.Less(t, time.Since(begun), 5*time.Second, "a second, the timeout, and a new connection")
	require.NoError(t, other.GroupSend(ctx, "room", note(1)))
	require.EqualValues(t, 1, next(t, l, member).Int("n"))
	require.False(t, gaps.gaps[0].from.After(begun), "the gap begins at %v, after %v when a message was lost", gaps.gaps[0].from, begun)
}

// A connection that answers PING and brings no messages is found out by what the
// layer publishes to itself.
func TestPubSubForgottenSubscriptions(t *testing.T) {
	server := redistest.Start(t, redistest.Config{})
	var forgetful atomic.Bool
	addr := proxyWithout(t, server.Addr(), "message\r\n", &forgetful)
	ctx := t.Context()
	var gaps gapLog
	l := openPubSub(t, []string{"redis://" + addr}, channelsredis.Options{Observer: gaps.observer()})
	other := openPubSub(t, []string{server.URL()}, channelsredis.Options{})
	member := newOwn(t, l)
	require.NoError(t, l.GroupAdd(ctx, "room", member))
	forgetful.Store(true)
	require.NoError(t, other.GroupSend(ctx, "room", note(0)))
	require.ErrorIs(t, l.Ping(ctx), layer.ErrUnavailable)
	soon(t, "a gap", func() bool { return gaps.count() > 0 })
	forgetful.Store(false)
	soon(t, "to be connected", func() bool { return l.Ping(ctx) == nil })
	require.NoError(t, other.GroupSend(ctx, "room", note(1)))
	require.EqualValues(t, 1, next(t, l, member).Int("n"))
}

// proxyWithout forwards connections, and while on is set leaves out what the
// server sends with that text in it.
func proxyWithout(t *testing.T, target, text string, on *atomic.Bool) (addr string) {
	return proxy(t, target, forward, func(server, client net.Conn) {
		defer client.Close()
		b := make([]byte, 64<<10)
		for {
			n, err := server.Read(b)
			if err != nil {
				return
			}
			if on.Load() && strings.Contains(string(b[:n]), text) {
				continue
			}
			if _, err := client.Write(b[:n]); err != nil {
				return
			}
		}
	})
}

func forward(from, to net.Conn) {
	io.Copy(to, from)
	to.Close()
}

// proxy connects clients to a server by two functions, one for each direction.
func proxy(t *testing.T, target string, toServer, toClient func(from, to net.Conn)) (addr string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var running sync.WaitGroup
	var mu sync.Mutex
	var open []net.Conn
	running.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", target)
			if err != nil {
				client.Close()
				continue
			}
			mu.Lock()
			open = append(open, client, server)
			mu.Unlock()
			running.Go(func() { toServer(client, server) })
			running.Go(func() { toClient(server, client) })
		}
	})
	t.Cleanup(func() {
		listener.Close()
		mu.Lock()
		for _, c := range open {
			c.Close()
		}
		mu.Unlock()
		running.Wait()
	})
	return listener.Addr().String()
}

// A send whose reply is lost is not repeated, and says that its outcome is not
// known.
func TestPubSubLostReply(t *testing.T) {
	server := redistest.Start(t, redistest.Config{})
	proxy := faultproxy.New(t, server.Addr())
	ctx := t.Context()
	l := openPubSub(t, []string{"redis://" + proxy.Addr()}, channelsredis.Options{})
	other := openPubSub(t, []string{server.URL()}, channelsredis.Options{})
	channel := newOwn(t, other)
	require.NoError(t, other.GroupAdd(ctx, "room", channel))
	for i, send := range []func(layer.Message) error{
		func(m layer.Message) error { return l.Send(ctx, channel, m) },
		func(m layer.Message) error { return l.GroupSend(ctx, "room", m) },
	} {
		lost := proxy.DropReplies(1, faultproxy.Containing([]string{channel, "asgi__group__room"}[i]))
		err := send(note(i))
		<-lost
		require.ErrorIs(t, err, layer.ErrMaybeSent)
		require.NotErrorIs(t, err, layer.ErrNotSent)
		require.ErrorIs(t, err, layer.ErrUnavailable)
		require.EqualValues(t, i, next(t, other, channel).Int("n"))
		soon(t, "a connection", func() bool { return l.Ping(ctx) == nil })
		require.NoError(t, send(note(100+i)))
		require.EqualValues(t, 100+i, next(t, other, channel).Int("n"), "and nothing in between")
	}
}

// What the network held back, and the server gets late, must not come after
// what was sent since.
func TestPubSubLateSend(t *testing.T) {
	server := redistest.Start(t, redistest.Config{})
	ctx := t.Context()
	var holding atomic.Int32 // the round in which to hold what clients send
	released := make([]chan struct{}, 5)
	addr := proxy(t, server.Addr(), func(client, server net.Conn) {
		b := make([]byte, 64<<10)
		for {
			n, err := client.Read(b)
			if err != nil {
				server.Close()
				return
			}
			if round := holding.Load(); round >= 0 {
				<-released[round]
			}
			if _, err := server.Write(b[:n]); err != nil {
				client.Close()
				return
			}
		}
	}, forward)
	holding.Store(-1)
	l := openPubSub(t, []string{"redis://" + addr}, channelsredis.Options{Timeout: 300 * time.Millisecond})
	other := openPubSub(t, []string{server.URL()}, channelsredis.Options{})
	channel := newOwn(t, other)
	for round := range released {
		released[round] = make(chan struct{})
		holding.Store(int32(round))
		require.ErrorIs(t, l.Send(ctx, channel, note(0)), layer.ErrMaybeSent, "round %d", round)
		holding.Store(-1) // on the connections that come now
		soon(t, "a send that works", func() bool { return l.Send(ctx, channel, note(1)) == nil })
		close(released[round])
		for range 3 {
			require.NoError(t, l.Send(ctx, channel, note(1)))
			time.Sleep(20 * time.Millisecond) // in which the late one would come
		}
		require.NoError(t, l.Send(ctx, channel, note(2)))
		for n := int64(1); n != 2; {
			n = next(t, other, channel).Int("n")
			require.NotZero(t, n, "round %d: the late one overtook", round)
		}
	}
}

func TestPubSubServerIsAway(t *testing.T) {
	server := redistest.Start(t, redistest.Config{})
	ctx := t.Context()
	l := openPubSub(t, []string{server.URL()}, channelsredis.Options{})
	channel := newOwn(t, l)
	server.Kill()
	soon(t, "the layer to notice", func() bool { return errors.Is(l.Send(ctx, "jobs", note(0)), layer.ErrNotSent) })
	for what, err := range map[string]error{
		"Send":      l.Send(ctx, "jobs", note(1)),
		"GroupSend": l.GroupSend(ctx, "room", note(1)),
	} {
		require.ErrorIs(t, err, layer.ErrUnavailable, what)
		require.ErrorIs(t, err, layer.ErrNotSent, what)
	}
	require.NoError(t, l.Send(ctx, channel, note(2)), "to a channel of its own")
	require.EqualValues(t, 2, next(t, l, channel).Int("n"))
	made := newOwn(t, l)
	limited, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, l.GroupAdd(limited, "room", made), context.DeadlineExceeded)
	server.Restart(t)
	soon(t, "the layer to be back", func() bool { return l.Ping(ctx) == nil })
	require.NoError(t, l.GroupSend(ctx, "room", note(3)))
	require.EqualValues(t, 3, next(t, l, made).Int("n"), "the membership counts when Redis is back")

	_, err := channelsredis.OpenPubSub(limited, []string{"redis://127.0.0.1:1"}, channelsredis.Options{})
	require.ErrorIs(t, err, context.DeadlineExceeded)
}

// Bytes of anybody's on the wire are counted and disturb nothing.
func TestPubSubHostileBytes(t *testing.T) {
	server := redistest.Start(t, redistest.Config{})
	ctx := t.Context()
	drops := make(chan string, 100)
	l := openPubSub(t, []string{server.URL()}, channelsredis.Options{MaxMessageSize: 1000, Observer: layer.Observer{
		Dropped: func(reason layer.DropReason, name string, count int) {
			drops <- fmt.Sprint(reason, " ", name, " ", count)
		},
	}})
	channel := newOwn(t, l)
	require.NoError(t, l.GroupAdd(ctx, "room", channel))
	client := server.Client(t)
	for _, test := range []struct{ to, body, want string }{
		{channel, "", "undecodable " + channel + " 1"},
		{channel, "\xc1", "undecodable " + channel + " 1"},
		{channel, "\x81\xa1v\xdd\xff\xff\xff\xff", "undecodable " + channel + " 1"},
		{"asgi__group__room", "garbage", "undecodable room 1"},
		{channel, "\x81\xb0" + layer.ReservedKey + "\xa1x", "undecodable " + channel + " 1"},
		{channel, "\x81\xa1v\xc5\x03\xf0" + strings.Repeat("x", 1008), "oversized " + channel + " 1"},
		{channel, strings.Repeat("x", 1<<20), "oversized " + channel + " 1"},
		{channel + "x", "\x80", "closed " + channel + "x 1"},
	} {
		require.NoError(t, client.Publish(ctx, test.to, test.body).Err())
		require.Equal(t, test.want, <-drops, "%q to %s", test.body[:min(20, len(test.body))], test.to)
	}
	require.NoError(t, client.Publish(ctx, channel, "\x81\xa1n\x07").Err())
	require.EqualValues(t, 7, next(t, l, channel).Int("n"))
}

func TestPubSubOptions(t *testing.T) {
	server := redistest.Start(t, redistest.Config{Users: []string{
		"default off", "deaf on >secret ~* resetchannels +@all", "any on >secret ~* &* +@all", "mild on >secret ~* &* +@all -client|kill",
	}})
	_, err := channelsredis.NewPubSub(channelsredis.Options{})
	require.ErrorIs(t, err, layer.ErrInvalidOption)
	require.ErrorContains(t, err, "Hosts")
	ring := redis.NewRing(&redis.RingOptions{})
	defer ring.Close()
	_, err = channelsredis.NewPubSub(channelsredis.Options{Hosts: []redis.UniversalClient{ring}})
	require.ErrorIs(t, err, layer.ErrInvalidOption)

	begun := time.Now()
	_, err = channelsredis.OpenPubSub(t.Context(), []string{"redis://deaf:secret@" + server.Addr()}, channelsredis.Options{})
	require.ErrorContains(t, err, "NOPERM")
	require.Less(t, time.Since(begun), 5*time.Second)

	_, err = channelsredis.OpenPubSub(t.Context(), []string{"redis://mild:secret@" + server.Addr()}, channelsredis.Options{})
	var setup *channelsredis.SetupError
	require.ErrorAs(t, err, &setup, "late sends could not be prevented")
	require.ErrorContains(t, err, "kill")

	l := openPubSub(t, []string{"redis://any:secret@" + server.Addr()}, channelsredis.Options{})
	require.ErrorIs(t, l.Send(t.Context(), "jobs", layer.NewMessage(map[string]any{"text": "x"})), layer.ErrInvalidMessage, "without a type")
}

// With several hosts, every name has its own, and the layer hears on all.
func TestPubSubSeveralHosts(t *testing.T) {
	var urls []string
	for range 3 {
		urls = append(urls, redistest.Start(t, redistest.Config{}).URL())
	}
	ctx := t.Context()
	a, b := openPubSub(t, urls, channelsredis.Options{}), openPubSub(t, urls, channelsredis.Options{})
	for n := range 20 {
		channel, group := newOwn(t, a), fmt.Sprintf("group-%d", n)
		require.NoError(t, b.Send(ctx, channel, note(n)))
		require.EqualValues(t, n, next(t, a, channel).Int("n"))
		require.NoError(t, a.GroupAdd(ctx, group, channel))
		require.NoError(t, b.GroupSend(ctx, group, note(n)))
		require.EqualValues(t, n, next(t, a, channel).Int("n"))
		require.NoError(t, b.Send(ctx, fmt.Sprintf("jobs-%d", n), note(n)))
		require.EqualValues(t, n, next(t, a, fmt.Sprintf("jobs-%d", n)).Int("n"), "sent before there was a receiver")
	}
}
