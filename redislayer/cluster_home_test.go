package redislayer

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

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
		p := newPipe(c)
		p.asking = true
		requests := appendRequest(appendRequest(nil, "XREAD", "a\r\nb", 1), "PING")
		require.NoError(t, p.write(requests, time.Second))
		asking := "*1\r\n$6\r\nASKING\r\n"
		require.Equal(t, asking+"*3\r\n$5\r\nXREAD\r\n$4\r\na\r\nb\r\n$1\r\n1\r\n"+asking+"*1\r\n$4\r\nPING\r\n", string(c.sent))
		failures := 0
		for _, want := range []any{int64(1), []any{"hello", int64(2)}} {
			got, broken, refused := p.reply()
			if broken == interrupted {
				failures++
				got, broken, refused = p.reply()
			}
			require.NoError(t, broken)
			require.NoError(t, refused)
			require.Equal(t, want, got, "interrupted with %d bytes to come", left)
		}
		require.Equal(t, 1, failures, "interruptions, with %d bytes to come", left)
	}
}
