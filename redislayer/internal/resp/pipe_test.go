package resp

import (
	"bytes"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// piecemeal is a connection that gives what it holds some bytes at a time.
type piecemeal struct {
	net.Conn
	rest   []byte
	size   int
	fail   error // once, when there are fewer bytes left than failAt
	failAt int
}

func (c *piecemeal) Read(b []byte) (int, error) {
	if c.fail != nil && len(c.rest) < c.failAt {
		err := c.fail
		c.fail = nil
		return 0, err
	}
	if len(c.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(b[:min(len(b), c.size)], c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

func (c *piecemeal) SetReadDeadline(time.Time) error { return nil }

func TestPipeReadsReplies(t *testing.T) {
	long := strings.Repeat("x", 100_000)
	replies := ":42\r\n:-1\r\n+OK\r\n$5\r\nhello\r\n$0\r\n\r\n$-1\r\n*-1\r\n*0\r\n" +
		"*3\r\n:1\r\n*2\r\n$1\r\na\r\n$2\r\n\r\n\r\n-ERR inside\r\n" + "$100000\r\n" + long + "\r\n:7\r\n"
	want := []any{int64(42), int64(-1), "OK", "hello", "", nil, nil, []any{},
		[]any{int64(1), []any{"a", "\r\n"}, Error("ERR inside")}, long, int64(7)}
	for _, size := range []int{1, 2, 3, 1000, 1 << 20} {
		p := NewPipe(&piecemeal{rest: []byte(replies), size: size})
		for i, w := range want {
			got, broken, refused := p.Reply()
			require.NoError(t, broken)
			require.NoError(t, refused)
			require.Equal(t, w, got, "reply %d, %d bytes at a time", i, size)
		}
		_, broken, _ := p.Reply()
		require.Equal(t, io.EOF, broken)
	}

	_, broken, refused := NewPipe(&piecemeal{rest: []byte("-BUSY now\r\n"), size: 100}).Reply()
	require.NoError(t, broken)
	require.Equal(t, Error("BUSY now"), refused)
}

func TestPipeGoesOnAfterAnInterruption(t *testing.T) {
	interrupted := errors.New("interrupted")
	p := NewPipe(&piecemeal{rest: []byte("*2\r\n$5\r\nhello\r\n:1\r\n:2\r\n"), size: 3, fail: interrupted, failAt: 10})
	_, broken, _ := p.Reply()
	require.Equal(t, interrupted, broken)
	for _, want := range []any{[]any{"hello", int64(1)}, int64(2)} {
		got, broken, _ := p.Reply()
		require.NoError(t, broken)
		require.Equal(t, want, got)
	}
}

func TestPipeRefusesWhatIsNotRESP2(t *testing.T) {
	for _, reply := range []string{"HTTP/1.1 400\r\n", "%1\r\n", ":\r\n", ":1x\r\n", "$99999999999999999999\r\n", "\n"} {
		_, broken, _ := NewPipe(&piecemeal{rest: []byte(reply), size: 100}).Reply()
		require.Equal(t, ErrNotRESP, broken, "after %q", reply)
	}
}

// A reply beyond all bounds is refused as soon as it says so: it neither takes
// memory nor overflows a number or the stack.
func TestPipeRefusesRepliesWithoutEnd(t *testing.T) {
	for what, reply := range map[string]string{
		"a long string":     "$536870913\r\n",
		"a long list":       "*999999999999999999\r\n",
		"lists of lists":    strings.Repeat("*9999999\r\n", 11),
		"a tower of lists":  strings.Repeat("*1\r\n", 1_000_000) + ":1\r\n",
		"a tower, and more": "*2\r\n" + strings.Repeat("*2\r\n", 100) + strings.Repeat(":1\r\n", 102),
	} {
		p := NewPipe(&piecemeal{rest: []byte(reply), size: 1 << 20})
		_, broken, _ := p.Reply()
		require.Equal(t, ErrNotRESP, broken, what)
	}
	_, broken, _ := NewPipe(&piecemeal{rest: []byte("$536870912\r\n"), size: 100}).Reply()
	require.Equal(t, io.EOF, broken, "the longest string, which is still to come")
}

func TestRequest(t *testing.T) {
	require.Equal(t, "*6\r\n$3\r\nSET\r\n$1\r\nk\r\n$2\r\n-7\r\n$1\r\n8\r\n$2\r\n10\r\n$5\r\nabcde\r\n",
		string(AppendRequest(nil, "SET", []byte("k"), -7, int64(8), uint64(10), Pieces{[]byte("abc"), []byte("de")})))
}

// ends are a pipe and what the server writes to.
func ends(t *testing.T) (*Pipe, net.Conn) {
	ours, theirs := net.Pipe()
	t.Cleanup(func() { ours.Close(); theirs.Close() })
	return NewPipe(ours), theirs
}

// A read that was interrupted goes on where it was.
func TestPipeInterruptedAnywhere(t *testing.T) {
	p, server := ends(t)
	wire := "*2\r\n$5\r\nhello\r\n:42\r\n"
	for at := range len(wire) {
		go func() {
			server.Write([]byte(wire[:at]))
			p.Interrupt()
		}()
		_, err := p.Fetch()
		require.True(t, IsTimeout(err), "interrupted after %q: %v", wire[:at], err)
		p.Extend(time.Minute)
		go server.Write([]byte(wire[at:]))
		reply, err := p.Fetch()
		require.NoError(t, err)
		require.Equal(t, wire, string(reply), "interrupted after %q", wire[:at])
	}
}

// A reply that comes slowly is waited for, until there is silence.
func TestPipeFetchSlowly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, server := ends(t)
		const wire = "*3\r\n:1\r\n:2\r\n:3\r\n"
		commands := []byte("BZMPOP")
		ask := func(pieces string) {
			go func() {
				server.Read(make([]byte, len(commands)))
				for i := range pieces {
					time.Sleep(900 * time.Millisecond)
					server.Write([]byte(pieces[i : i+1]))
				}
			}()
			require.NoError(t, p.Write(commands, 2*time.Second))
		}
		ask(wire)
		reply, err := p.FetchSlowly(time.Second)
		require.NoError(t, err)
		require.Equal(t, wire, string(reply))
		ask(wire[:5])
		began := time.Now()
		_, err = p.FetchSlowly(time.Second)
		require.True(t, IsTimeout(err), "%v", err)
		require.Equal(t, 5*900*time.Millisecond+time.Second, time.Since(began))
	})
}

// Where the server says more than it was asked for, no reply can be told from
// another's.
func TestPipeRefusesWhatItDidNotAskFor(t *testing.T) {
	p, server := ends(t)
	go func() {
		server.Read(make([]byte, 4))
		server.Write([]byte(":1\r\n:2\r\n"))
	}()
	require.NoError(t, p.Write([]byte("PING"), time.Minute))
	reply, err := p.Fetch()
	require.NoError(t, err)
	require.Equal(t, ":1\r\n", string(reply))
	require.ErrorIs(t, p.Write([]byte("PING"), time.Minute), errNotAsked)
}

func TestStrings(t *testing.T) {
	for reply, want := range map[string][]string{
		"*0\r\n": {},
		"*3\r\n$1\r\na\r\n$0\r\n\r\n$4\r\n\r\n\r\n\r\n": {"a", "", "\r\n\r\n"},
	} {
		require.Equal(t, want, Strings(reply), "%q", reply)
	}
}

// recorder is a connection that keeps what is written to it.
type recorder struct {
	piecemeal
	sent []byte
}

func (r *recorder) SetDeadline(time.Time) error { return nil }

func (r *recorder) Write(b []byte) (int, error) {
	r.sent = append(r.sent, b...)
	return len(b), nil
}

// Who asks sends ASKING before each request, and sees no reply to it, wherever
// reading is interrupted.
func TestPipeAsks(t *testing.T) {
	interrupted := errors.New("interrupted")
	replies := "+OK\r\n:1\r\n-NOPERM\r\n*2\r\n$5\r\nhello\r\n:2\r\n"
	for left := 1; left <= len(replies); left++ {
		c := &recorder{piecemeal: piecemeal{rest: []byte(replies), size: 1, fail: interrupted, failAt: left + 1}}
		p := NewPipe(c)
		p.Ask()
		requests := AppendRequest(AppendRequest(nil, "XREAD", "a\r\nb", 1), "PING")
		require.NoError(t, p.Write(requests, time.Second))
		asking := "*1\r\n$6\r\nASKING\r\n"
		require.Equal(t, asking+"*3\r\n$5\r\nXREAD\r\n$4\r\na\r\nb\r\n$1\r\n1\r\n"+asking+"*1\r\n$4\r\nPING\r\n", string(c.sent))
		failures := 0
		for _, want := range []any{int64(1), []any{"hello", int64(2)}} {
			got, broken, refused := p.Reply()
			if broken == interrupted {
				failures++
				got, broken, refused = p.Reply()
			}
			require.NoError(t, broken)
			require.NoError(t, refused)
			require.Equal(t, want, got, "interrupted with %d bytes to come", left)
		}
		require.Equal(t, 1, failures, "interruptions, with %d bytes to come", left)
	}
}

// FuzzPipe reads anybody's replies. It must not panic, and what a reply is may
// not depend on how it comes.
func FuzzPipe(f *testing.F) {
	f.Add([]byte("*1\r\n*2\r\n$5\r\ninbox\r\n*1\r\n*2\r\n$3\r\n1-1\r\n*2\r\n$1\r\ne\r\n$1\r\nx\r\n"), 1)
	f.Add([]byte("*-1\r\n:1\r\n-ERR no\r\n"), 2)
	f.Add([]byte("*3\r\n$-1\r\n+\r\n*0\r\n"), 7)
	f.Fuzz(func(t *testing.T, b []byte, size int) {
		if len(b) > 1<<16 {
			return
		}
		whole, parts := NewPipe(&piecemeal{rest: b, size: 1 << 20}), NewPipe(&piecemeal{rest: bytes.Clone(b), size: max(1, size)})
		for {
			one, err1 := whole.Fetch()
			two, err2 := parts.Fetch()
			require.Equal(t, err1, err2)
			if err1 != nil {
				return
			}
			require.Equal(t, one, two)
			_, _ = Read(one)
			Strings(string(one))
		}
	})
}

// What a Fetch has read too much of comes first.
func TestPipeRead(t *testing.T) {
	p, server := ends(t)
	go server.Write([]byte("+OK\r\n+pushed"))
	reply, err := p.Fetch()
	require.NoError(t, err)
	require.Equal(t, "+OK\r\n", string(reply))
	b := make([]byte, 100)
	for read := 0; read < len("+pushed"); {
		n, err := p.Read(b[read:])
		require.NoError(t, err)
		read += n
		require.Equal(t, "+pushed"[:read], string(b[:read]))
	}
	go server.Write([]byte("more"))
	n, err := p.Read(b)
	require.NoError(t, err)
	require.Equal(t, "more", string(b[:n]))
}
