package redisconn

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// ends are a pipe and what the server writes to.
func ends(t *testing.T) (*Pipe, net.Conn) {
	ours, theirs := net.Pipe()
	t.Cleanup(func() { ours.Close(); theirs.Close() })
	return newPipe(ours), theirs
}

func TestPipeReadsReplies(t *testing.T) {
	for wire, want := range map[string]any{
		":7\r\n":                          int64(7),
		":-7\r\n":                         int64(-7),
		"+OK\r\n":                         "OK",
		"$-1\r\n":                         nil,
		"*-1\r\n":                         nil,
		"$0\r\n\r\n":                      "",
		"$4\r\na\r\nb\r\n":                "a\r\nb",
		"*0\r\n":                          []any{},
		"*2\r\n*1\r\n$1\r\na\r\n:1\r\n":   []any{[]any{"a"}, int64(1)},
		"*2\r\n-ERR in a list\r\n$-1\r\n": []any{ReplyError("ERR in a list"), nil},
		"$40000\r\n" + strings.Repeat("x", 40000) + "\r\n": strings.Repeat("x", 40000),
	} {
		for _, size := range []int{1, 3, len(wire)} { // of what comes at a time
			if len(wire) > 1000 && size < 1000 {
				size = 1000
			}
			p, server := ends(t)
			go func() {
				for rest := wire + wire; rest != ""; {
					n := min(size, len(rest))
					server.Write([]byte(rest[:n]))
					rest = rest[n:]
				}
			}()
			for range 2 {
				reply, err := p.Fetch()
				require.NoError(t, err, "fetching %.50q", wire)
				got, err := Read(reply)
				require.NoError(t, err, "reading %.50q", wire)
				require.Equal(t, want, got, "%.50q in pieces of %d", wire, size)
			}
		}
	}
}

// A read that was interrupted goes on where it was.
func TestPipeInterrupted(t *testing.T) {
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

func TestPipeRefusesWhatIsNoReply(t *testing.T) {
	for _, wire := range []string{"\n", "x\r\n", "%1\r\n", "$x\r\n", ":\r\n", "$99999999999\r\n", "*99999999999\r\n", ":1234567890123456789\r\n"} {
		p, server := ends(t)
		go server.Write([]byte(wire))
		_, err := p.Fetch()
		require.ErrorIs(t, err, errNotRESP, "%q", wire)
	}
	_, err := Read([]byte(strings.Repeat("*1\r\n", 100) + ":1\r\n"))
	require.ErrorIs(t, err, errNotRESP, "lists in lists")
	_, err = Read([]byte("-NOSCRIPT none\r\n"))
	require.Equal(t, ReplyError("NOSCRIPT none"), err)
}

func TestStrings(t *testing.T) {
	for reply, want := range map[string][]string{
		"*0\r\n": {},
		"*3\r\n$1\r\na\r\n$0\r\n\r\n$4\r\n\r\n\r\n\r\n": {"a", "", "\r\n\r\n"},
	} {
		require.Equal(t, want, Strings(reply), "%q", reply)
	}
}

func TestAppendCommand(t *testing.T) {
	got := string(AppendCommand([]byte("before"), "GET", []byte("a\r\nb"), -3, int64(12)))
	require.Equal(t, "before*4\r\n$3\r\nGET\r\n$4\r\na\r\nb\r\n$2\r\n-3\r\n$2\r\n12\r\n", got, fmt.Sprintf("%q", got))
}
