package faultproxy_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/channellayer/channellayer/internal/faultproxy"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what must happen, silence how long it
// listens for what must not.
const (
	patience = 20 * time.Second
	silence  = 60 * time.Millisecond
)

// server answers each line with "re: " and the line, and remembers them all.
type server struct {
	net.Listener
	mu       sync.Mutex
	lines    []string
	accepted int
}

func startServer(t *testing.T) *server {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	s := &server{Listener: listener}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			s.accepted++
			s.mu.Unlock()
			running.Go(func() {
				defer conn.Close()
				for lines := bufio.NewScanner(conn); lines.Scan(); {
					s.mu.Lock()
					s.lines = append(s.lines, lines.Text())
					s.mu.Unlock()
					fmt.Fprintf(conn, "re: %s\n", lines.Text())
				}
			})
		}
	})
	t.Cleanup(func() {
		listener.Close()
		running.Wait()
	})
	return s
}

// got returns the lines that the server has seen, in order, in one string.
func (s *server) got() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.lines, " ")
}

// client is a connection that speaks in lines.
type client struct {
	t *testing.T
	*net.TCPConn
	replies *bufio.Reader
}

// start starts a server and a proxy for it. The server ends after the proxy.
func start(t *testing.T) (*server, *faultproxy.Proxy) {
	s := startServer(t)
	return s, faultproxy.New(t, s.Addr().String())
}

func dial(t *testing.T, p *faultproxy.Proxy) *client {
	t.Helper()
	conn, err := net.Dial("tcp", p.Addr())
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	return &client{t, conn.(*net.TCPConn), bufio.NewReader(conn)}
}

func (c *client) send(line string) {
	c.t.Helper()
	_, err := io.WriteString(c, line+"\n")
	require.NoError(c.t, err)
}

func (c *client) receive() (string, error) {
	c.SetReadDeadline(time.Now().Add(patience))
	line, err := c.replies.ReadString('\n')
	return strings.TrimSpace(line), err
}

func (c *client) expect(line string) {
	c.t.Helper()
	got, err := c.receive()
	require.NoError(c.t, err, "waiting for %q", line)
	require.Equal(c.t, line, got)
}

func (c *client) expectSilence() {
	c.t.Helper()
	c.SetReadDeadline(time.Now().Add(silence))
	line, err := c.replies.ReadString('\n')
	require.ErrorIs(c.t, err, os.ErrDeadlineExceeded, "silence was expected, %q was received", line)
}

func (c *client) ask(line string) {
	c.t.Helper()
	c.send(line)
	c.expect("re: " + line)
}

func eventually(t *testing.T, condition func() bool, format string, args ...any) {
	t.Helper()
	require.Eventually(t, condition, patience, 2*time.Millisecond, fmt.Sprintf(format, args...))
}

func await(t *testing.T, struck <-chan struct{}) {
	t.Helper()
	select {
	case <-struck:
	case <-time.After(patience):
		t.Fatal("the fault did not strike")
	}
}

func notYet(t *testing.T, struck <-chan struct{}) {
	t.Helper()
	select {
	case <-struck:
		t.Fatal("the fault is said to have struck")
	default:
	}
}

func TestForwardsAndCounts(t *testing.T) {
	_, p := start(t)
	a, b := dial(t, p), dial(t, p)
	a.ask("one")
	b.ask("two")
	a.ask("three")
	sent := len("one\ntwo\nthree\n")
	// A byte is counted after it was written, and so perhaps after it arrived.
	want := faultproxy.Stats{Accepted: 2, Open: 2, ToServer: sent, ToClient: sent + 3*len("re: ")}
	eventually(t, func() bool { return p.Stats() == want }, "counters should be %+v", want)
	require.NoError(t, a.CloseWrite())
	_, err := a.receive()
	require.ErrorIs(t, err, io.EOF, "the server's end of the connection")
	eventually(t, func() bool { return p.Stats().Open == 1 }, "one connection should be open")
}

func TestForwardsMuch(t *testing.T) {
	_, p := start(t)
	c := dial(t, p)
	p.Delay(faultproxy.Both, time.Millisecond, 2*time.Millisecond)
	go func() {
		for i := range 50_000 {
			fmt.Fprintf(c, "line %d\n", i)
		}
	}()
	for i := range 50_000 {
		c.expect(fmt.Sprintf("re: line %d", i))
	}
}

func TestDropReplies(t *testing.T) {
	s, p := start(t)
	a, b := dial(t, p), dial(t, p)
	struck := p.DropReplies(2, faultproxy.Containing("write"))
	a.ask("read 1")
	a.send("write 1")
	_, err := a.receive()
	require.ErrorIs(t, err, io.EOF, "the reply should be lost")
	notYet(t, struck)
	b.ask("read 2")
	b.send("write 2")
	_, err = b.receive()
	require.ErrorIs(t, err, io.EOF, "the reply should be lost")
	await(t, struck)
	dial(t, p).ask("write 3")
	require.Equal(t, "read 1 write 1 read 2 write 2 write 3", s.got(), "what the server was asked")
	eventually(t, func() bool { return p.Stats().Open == 1 }, "struck connections should be gone")
}

func TestDropRepliesExecutesWholePipeline(t *testing.T) {
	s, p := start(t)
	struck := p.DropReplies(1, faultproxy.Any)
	var lines []string
	for i := range 5000 { // 24 kB: more than the server reads at once, less than a packet
		lines = append(lines, fmt.Sprint(i))
	}
	c := dial(t, p)
	c.send(strings.Join(lines, "\n"))
	_, err := c.receive()
	require.Error(t, err, "the reply should be lost")
	await(t, struck)
	eventually(t, func() bool { return s.got() == strings.Join(lines, " ") }, "the server should get all lines")
}

func TestDropRepliesCountsOnlyAnsweredRequests(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	p := faultproxy.New(t, listener.Addr().String())
	struck := p.DropReplies(1, faultproxy.Any)
	for _, answered := range []bool{false, true} {
		c := dial(t, p)
		c.send("request")
		conn, err := listener.Accept()
		require.NoError(t, err)
		defer conn.Close()
		_, err = bufio.NewReader(conn).ReadString('\n')
		require.NoError(t, err)
		notYet(t, struck)
		if answered {
			_, err = io.WriteString(conn, "reply\n")
			require.NoError(t, err)
			await(t, struck)
			_, err = c.receive()
			require.ErrorIs(t, err, io.EOF, "the reply should be lost")
		} else {
			require.Equal(t, 1, p.Cut(faultproxy.Any, false))
			eventually(t, func() bool { return p.Stats().Open == 0 }, "the connection should be gone")
		}
	}
}

func TestDropRequests(t *testing.T) {
	s, p := start(t)
	c := dial(t, p)
	struck := p.DropRequests(1, faultproxy.Containing("write"))
	c.ask("read")
	c.send("write 1")
	_, err := c.receive()
	require.Error(t, err, "the connection should be closed")
	await(t, struck)
	dial(t, p).ask("write 2")
	require.Equal(t, "read write 2", s.got(), "what the server was asked")
}

func TestMatchSeesARequestOfSeveralPackets(t *testing.T) {
	s, p := start(t)
	c := dial(t, p)
	struck := p.DropReplies(1, faultproxy.Containing("write 1"))
	_, err := io.WriteString(c, "wri")
	require.NoError(t, err)
	eventually(t, func() bool { return p.Stats().ToServer == 3 }, "the first packet should be forwarded")
	c.send("te 1")
	_, err = c.receive()
	require.ErrorIs(t, err, io.EOF)
	await(t, struck)
	require.Equal(t, "write 1", s.got())
}

func TestBlackHole(t *testing.T) {
	for _, test := range []struct {
		name      string
		direction faultproxy.Direction
		arrives   string // at the server while the hole is there
	}{
		{"to the server", faultproxy.ToServer, "before"},
		{"to the client", faultproxy.ToClient, "before old new"},
		{"both", faultproxy.Both, "before"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s, p := start(t)
			old := dial(t, p)
			old.ask("before")
			p.BlackHole(test.direction)
			old.send("old")
			old.expectSilence()
			fresh := dial(t, p)
			fresh.send("new")
			fresh.expectSilence()
			require.Equal(t, test.arrives, s.got(), "what the server was asked meanwhile")
			p.Heal()
			old.expect("re: old")
			fresh.expect("re: new")
		})
	}
}

func TestBlackHoleDeliversLateWhatAClosedClientSent(t *testing.T) {
	s, p := start(t)
	c := dial(t, p)
	c.ask("before")
	p.BlackHole(faultproxy.ToServer)
	c.send("late")
	require.NoError(t, c.Close())
	dial(t, p).expectSilence()
	require.Equal(t, "before", s.got())
	p.Heal()
	eventually(t, func() bool { return s.got() == "before late" }, "the late request should arrive")
	eventually(t, func() bool { return p.Stats().Open <= 1 }, "the closed connection should be gone")
}

func TestDeafen(t *testing.T) {
	s, p := start(t)
	reader, writer := dial(t, p), dial(t, p)
	reader.ask("name reader")
	reader.ask("something else")
	writer.ask("name writer")
	require.Equal(t, 1, p.Deafen(faultproxy.Containing("name reader")), "connections that match by what they sent first")
	reader.send("anybody there")
	reader.expectSilence()
	writer.ask("yes")
	dial(t, p).ask("name reader")
	require.Equal(t, "name reader something else name writer anybody there yes name reader", s.got())
	p.Heal()
	reader.expect("re: anybody there")
}

func TestDelay(t *testing.T) {
	const delay = 40 * time.Millisecond
	for _, direction := range []faultproxy.Direction{faultproxy.ToServer, faultproxy.ToClient} {
		_, p := start(t)
		c := dial(t, p)
		c.ask("before")
		p.Delay(direction, delay, 0)
		began := time.Now()
		c.send("one")
		c.send("two")
		c.expect("re: one")
		c.expect("re: two")
		require.GreaterOrEqual(t, time.Since(began), delay, "time for a reply, direction %v", direction)
		p.Delay(direction, 0, 0)
		c.ask("after")
		p.Delay(direction, time.Hour, 0)
		c.send("never")
		c.expectSilence() // and the end of the test does not wait for it
	}
}

func TestCut(t *testing.T) {
	for _, reset := range []bool{false, true} {
		_, p := start(t)
		reader, writer := dial(t, p), dial(t, p)
		reader.ask("hello")
		reader.ask("read")
		writer.ask("hello")
		require.Equal(t, 1, p.Cut(faultproxy.Containing("read"), reset), "connections that match by their latest request")
		_, err := reader.receive()
		if reset {
			require.ErrorContains(t, err, "reset")
		} else {
			require.ErrorIs(t, err, io.EOF)
		}
		writer.ask("still here")
		require.Equal(t, 1, p.Cut(faultproxy.Any, reset))
		_, err = writer.receive()
		require.Error(t, err)
		dial(t, p).ask("new")
	}
}

func TestRefuse(t *testing.T) {
	_, p := start(t)
	c := dial(t, p)
	c.ask("before")
	p.Refuse()
	p.Refuse()
	_, err := net.Dial("tcp", p.Addr())
	require.ErrorContains(t, err, "refused")
	c.ask("present connections go on")
	p.Heal()
	dial(t, p).ask("after")
}

func TestServerThatIsDown(t *testing.T) {
	s, p := start(t)
	s.Close()
	conn, err := net.Dial("tcp", p.Addr())
	if err == nil { // it may see the reset this early
		defer conn.Close()
		_, err = conn.Read(make([]byte, 1))
	}
	require.ErrorContains(t, err, "reset")
}

func TestCloseDuringFaults(t *testing.T) {
	_, p := start(t)
	p.BlackHole(faultproxy.ToServer)
	p.Delay(faultproxy.ToClient, time.Hour, 0)
	p.DropReplies(1, faultproxy.Any)
	c := dial(t, p)
	c.send("never")
	p.Close()
	p.Close()
	p.Heal()
	_, err := c.receive()
	require.Error(t, err)
	_, err = net.Dial("tcp", p.Addr())
	require.Error(t, err, "a closed proxy accepted a connection")
	require.Zero(t, p.Stats().Open)
}
