package channelsredis_test

import (
	"bytes"
	"io"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/channellayer/channellayer/internal/redistest"
	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/redislayer/channelsredis"
)

// once checks that one gap is reported, and no other for a while.
func once(t *testing.T, gaps <-chan gap, while time.Duration) {
	t.Helper()
	g := <-gaps
	t.Logf("gap of %v: %s", g.to.Sub(g.from), g.reason)
	select {
	case g := <-gaps:
		require.Failf(t, "another gap", "of %v: %s", g.to.Sub(g.from), g.reason)
	case <-time.After(while):
	}
}

// A reader that has nothing to read when the server is replaced, and reads later,
// has lost nothing more.
func TestCoreGapOnceWithAnIdleReader(t *testing.T) {
	t.Parallel()
	f := newFaulty(t, nil)
	ctx := t.Context()
	require.NoError(t, f.sound.Send(ctx, "jobs", say("before")))
	require.Equal(t, []string{"before"}, texts(t, f.faulty, "jobs", 1))
	f.server.RestartEmpty(t)
	once(t, f.gaps, time.Second)
	soon(t, "the other layer to recover", func() bool { return f.sound.Ping(ctx) == nil })
	require.NoError(t, f.sound.Send(ctx, "others", say("after")))
	require.Equal(t, []string{"after"}, texts(t, f.faulty, "others", 1))
	require.Never(t, func() bool { return len(f.gaps) > 0 }, time.Second, 10*time.Millisecond, "another gap")
}

// A reader does not hear of the end of its server before the writer has met the
// new one: the writer tells all that was lost, and the reader follows at once.
func TestCoreGapOnceWhereTheWriterIsFirst(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, redistest.Config{})
	way := newDetour(t, server.Addr())
	c, gaps := way.open(t)
	own := newOwn(t, c)
	time.Sleep(1500 * time.Millisecond) // its reader waits at the server, and has found its queue empty once
	way.hide("asgispecific.")
	server.RestartEmpty(t)
	soon(t, "the writer", func() bool { return c.Send(t.Context(), "jobs", say("after")) == nil })
	require.NoError(t, c.Send(t.Context(), own, say("local")))
	once(t, gaps, 4*time.Second)
}

// The server's name leads to another server, and the reader is the first to find
// out: the writer follows, restores memberships there, and tells what was lost.
func TestCoreGapOnceWhereTheReaderIsFirst(t *testing.T) {
	t.Parallel()
	one, two := redistest.Start(t, redistest.Config{}), redistest.Start(t, redistest.Config{})
	way := newDetour(t, one.Addr())
	c, gaps := way.open(t)
	own := newOwn(t, c)
	require.NoError(t, c.GroupAdd(t.Context(), "room", own))
	time.Sleep(1500 * time.Millisecond) // its reader waits at the server, and has found its queue empty once
	way.leadTo(two.Addr())
	way.cut("asgispecific.")
	g := <-gaps
	require.EqualValues(t, 1, two.Client(t).Exists(t.Context(), "asgi:group:room").Val(), "memberships when the gap of %v was reported", g.to.Sub(g.from))
	one.Kill()
	require.Never(t, func() bool { return len(gaps) > 0 }, 6*time.Second, 10*time.Millisecond, "another gap")
}

// detour forwards connections to where it leads at the time.
type detour struct {
	listener net.Listener
	mu       sync.Mutex
	target   string
	hidden   []byte // the end of who sent this is not passed on
	conns    []*forwarded
}

type forwarded struct {
	near, far net.Conn
	sent      []byte // guarded by the detour's mu
}

func newDetour(t *testing.T, target string) *detour {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	d := &detour{listener: listener, target: target}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			near, err := listener.Accept()
			if err != nil {
				return
			}
			d.mu.Lock()
			far, err := net.Dial("tcp", d.target)
			if err != nil {
				near.Close()
			} else {
				c := &forwarded{near: near, far: far}
				d.conns = append(d.conns, c)
				running.Go(func() { d.back(c) })
				running.Go(func() { d.forth(c) })
			}
			d.mu.Unlock()
		}
	})
	t.Cleanup(func() {
		listener.Close()
		d.cut("")
		running.Wait()
	})
	return d
}

// open opens a layer by way of the detour, and returns its gaps.
func (d *detour) open(t *testing.T) (*channelsredis.Core, <-chan gap) {
	t.Helper()
	gaps := make(chan gap, 10)
	c, err := channelsredis.OpenCore(t.Context(), []string{"redis://" + d.listener.Addr().String()}, channelsredis.Options{
		AllowUntyped: true,
		Observer:     layer.Observer{Gap: func(from, to time.Time, reason string) { gaps <- gap{from, to, reason} }},
	})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	return c, gaps
}

func (d *detour) back(c *forwarded) {
	io.Copy(c.near, c.far)
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.hidden == nil || !bytes.Contains(c.sent, d.hidden) {
		c.near.Close()
	}
}

func (d *detour) forth(c *forwarded) {
	defer c.near.Close()
	defer c.far.Close()
	b := make([]byte, 64<<10)
	for {
		n, err := c.near.Read(b)
		if err != nil {
			return
		}
		d.mu.Lock()
		c.sent = append(c.sent, b[:n]...)
		d.mu.Unlock()
		c.far.Write(b[:n])
	}
}

func (d *detour) leadTo(target string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.target = target
}

func (d *detour) hide(sent string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.hidden = []byte(sent)
}

// cut ends the connections by which that was sent.
func (d *detour) cut(sent string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.conns = slices.DeleteFunc(d.conns, func(c *forwarded) bool {
		if !bytes.Contains(c.sent, []byte(sent)) {
			return false
		}
		c.near.Close()
		c.far.Close()
		return true
	})
}
