package redislayer

import (
	"bytes"
	"net"
	"testing"

	"github.com/channellayer/channellayer/redislayer/internal/resp"
)

// given is a connection that gives what it holds.
type given struct {
	net.Conn
	*bytes.Reader
}

func (g given) Read(b []byte) (int, error) { return g.Reader.Read(b) }

func pipeOf(replies []byte) *resp.Pipe { return resp.NewPipe(given{Reader: bytes.NewReader(replies)}) }

// FuzzEntries takes anybody's replies for entries of an inbox. It must not panic.
func FuzzEntries(f *testing.F) {
	f.Add([]byte("*1\r\n*2\r\n$5\r\ninbox\r\n*1\r\n*2\r\n$3\r\n1-1\r\n*2\r\n$1\r\ne\r\n$1\r\nx\r\n"))
	f.Add([]byte("*-1\r\n:1\r\n-ERR no\r\n"))
	f.Fuzz(func(_ *testing.T, b []byte) {
		p := pipeOf(b[:min(len(b), 1<<16)])
		for {
			reply, err := p.Fetch()
			if err != nil {
				return
			}
			_, _ = entriesOfStream(resp.Over(reply), nil)
			_, _ = entriesOf(resp.Over(reply), nil)
		}
	})
}
