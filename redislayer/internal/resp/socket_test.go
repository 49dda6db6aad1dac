package resp

import (
	"bytes"
	"io"
	"net"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// connected returns both ends of a real connection.
func connected(t *testing.T, network, addr string) (ours, theirs net.Conn) {
	l, err := net.Listen(network, addr)
	require.NoError(t, err)
	defer l.Close()
	ours, err = net.Dial(network, l.Addr().String())
	require.NoError(t, err)
	theirs, err = l.Accept()
	require.NoError(t, err)
	t.Cleanup(func() { ours.Close(); theirs.Close() })
	return ours, theirs
}

// A real connection does what any other does.
func TestDirect(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			addr := "127.0.0.1:0"
			if network == "unix" {
				addr = filepath.Join(t.TempDir(), "s")
			}
			ours, theirs := connected(t, network, addr)
			theirs.SetDeadline(time.Now().Add(time.Minute))
			p := NewPipe(ours)
			if runtime.GOOS == "linux" {
				require.NotEqual(t, ours, p.stream, "a %T is not read directly", ours)
			}

			t.Run("replies come in pieces, before and while they are waited for", func(t *testing.T) {
				go func() {
					request := make([]byte, 4)
					io.ReadFull(theirs, request)
					theirs.Write([]byte("$5\r\nhe"))
					theirs.Write([]byte("llo\r\n:1\r\n"))
				}()
				require.NoError(t, p.Write([]byte("PING"), time.Minute))
				for _, want := range []string{"$5\r\nhello\r\n", ":1\r\n"} {
					reply, err := p.Fetch()
					require.NoError(t, err)
					require.Equal(t, want, string(reply))
				}
			})
			t.Run("a read is interrupted, and done again", func(t *testing.T) {
				go p.Interrupt()
				_, err := p.Fetch()
				require.True(t, IsTimeout(err), "%v", err)
				p.Extend(time.Minute)
				go theirs.Write([]byte(":2\r\n"))
				reply, err := p.Fetch()
				require.NoError(t, err)
				require.Equal(t, ":2\r\n", string(reply))
			})
			t.Run("writes wait for a peer that does not read, and lose nothing", func(t *testing.T) {
				request := bytes.Repeat([]byte("0123456789abcdef"), 1000)
				sent, got := 0, make(chan []byte)
				ours.SetDeadline(time.Now().Add(100 * time.Millisecond))
				for {
					n, err := p.stream.Write(request)
					sent += n
					if err != nil {
						require.True(t, IsTimeout(err), "after %d bytes: %v", sent, err)
						break
					}
					require.Equal(t, len(request), n)
				}
				go func() {
					all := make([]byte, sent+len(request))
					_, err := io.ReadFull(theirs, all)
					if err != nil {
						t.Error(err)
					}
					got <- all
				}()
				ours.SetDeadline(time.Now().Add(time.Minute))
				_, err := p.stream.Write(request[sent%len(request):])
				require.NoError(t, err)
				_, err = p.stream.Write(request[:sent%len(request)])
				require.NoError(t, err)
				require.True(t, bytes.HasPrefix(bytes.Repeat(request, sent/len(request)+2), <-got), "what came is not what was sent, in order")
			})
			t.Run("its end", func(t *testing.T) {
				require.NoError(t, theirs.Close())
				_, err := p.Fetch()
				require.Equal(t, io.EOF, err)
				require.Eventually(t, func() bool { return p.Write([]byte("PING"), time.Second) != nil }, time.Minute, time.Millisecond)
				require.NoError(t, ours.Close())
				require.ErrorIs(t, p.Write([]byte("PING"), time.Second), net.ErrClosed)
				_, err = p.Fetch()
				require.ErrorIs(t, err, net.ErrClosed)
			})
		})
	}
}
