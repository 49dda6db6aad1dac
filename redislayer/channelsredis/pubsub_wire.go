package channelsredis

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/channellayer/channellayer/redislayer/channelsredis/internal/redisconn"
	"github.com/channellayer/channellayer/redislayer/internal/resp"
)

// pubsubConn is a connection of which the client library did the greeting, and
// nothing else. From then on commands and replies (RESP2) are written and read
// here: the library's PubSub reconnects by itself, tells no time-out from a
// reply that was half read, and makes some ten allocations of each message; its
// pipelines make a command of each PUBLISH.
type pubsubConn struct {
	*redisconn.Conn
	in      *bufio.Reader
	timeout time.Duration // of a write
	quiet   time.Duration // how long a read may hear nothing
	most    int           // bytes of a payload
	scratch [3][]byte     // for what is read

	beforeRead func() // is called before it is waited for more to be pushed; may be nil
}

func connectPubSub(ctx context.Context, settings *redis.Options, timeout, quiet time.Duration, most int) (*pubsubConn, error) {
	c := &pubsubConn{timeout: timeout, quiet: quiet, most: most}
	var err error
	if c.Conn, err = redisconn.Connect(ctx, settings, timeout, timeout); err != nil {
		return nil, err
	}
	c.in = bufio.NewReaderSize(quietReader{c}, 64<<10)
	// Nothing is ended by this: Redis passes over the connection that asks. It
	// shows before it is needed whether the user has the right.
	if err := c.kill(ctx, c.ID); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// kill ends another connection at the server, so that nothing that came on it
// is run any more. It is not for a connection that has subscribed.
func (c *pubsubConn) kill(ctx context.Context, id int64) error {
	limited, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	return redisconn.Explain(c.ClientKillByFilter(limited, "ID", strconv.FormatInt(id, 10), "SKIPME", "yes").Err())
}

// quietReader reads with a deadline for each wait.
type quietReader struct{ c *pubsubConn }

// stallGrace is for how long a read goes on whose deadline has passed: where
// this process stood still meanwhile, what it waits for is there.
const stallGrace = 250 * time.Millisecond

func (r quietReader) Read(b []byte) (n int, err error) {
	if r.c.beforeRead != nil {
		r.c.beforeRead()
	}
	for _, wait := range []time.Duration{r.c.quiet, stallGrace} {
		r.c.Pipe.Extend(wait)
		if n, err = r.c.Pipe.Read(b); !errors.Is(err, os.ErrDeadlineExceeded) {
			break
		}
	}
	return n, err
}

func (c *pubsubConn) write(b []byte) error {
	if err := c.Net.SetWriteDeadline(time.Now().Add(c.timeout)); err != nil {
		return err
	}
	_, err := c.Net.Write(b)
	return err
}

// appendCommand appends a command, whose last argument may be bytes.
func appendCommand(b []byte, command, name string, last []byte) []byte {
	n := byte('2')
	if last != nil {
		n = '3'
	}
	b = append(b, '*', n, '\r', '\n')
	b = appendBulk(b, command)
	b = appendBulk(b, name)
	if last != nil {
		b = appendBulk(b, last)
	}
	return b
}

func appendBulk[T string | []byte](b []byte, s T) []byte {
	b = append(b, '$')
	b = strconv.AppendInt(b, int64(len(s)), 10)
	b = append(b, '\r', '\n')
	b = append(b, s...)
	return append(b, '\r', '\n')
}

// serverError is an error reply.
type serverError = resp.Error

var errProtocol = errors.New("the server does not speak RESP2")

// receivers waits for the reply to a PUBLISH, or, where it was asked, to a
// PUBSUB NUMSUB.
func (c *pubsubConn) receivers(asked bool) (int64, error) {
	reply, err := c.Pipe.Fetch()
	if resp.IsTimeout(err) {
		c.Pipe.Extend(stallGrace)
		reply, err = c.Pipe.Fetch()
	}
	switch {
	case err != nil:
		return 0, err
	case asked:
		return subscribers(reply)
	}
	return integer(reply)
}

// integer reads the reply to a PUBLISH: a number, or an error reply.
func integer(reply []byte) (int64, error) {
	value, err := resp.Read(reply)
	if err != nil {
		return 0, err
	}
	n, ok := value.(int64)
	if !ok {
		return 0, fmt.Errorf("%w: %.40q", errProtocol, reply)
	}
	return n, nil
}

// subscribers reads the reply to a PUBSUB NUMSUB for one channel: its name, and
// a number.
func subscribers(reply []byte) (int64, error) {
	value, err := resp.Read(reply)
	if err != nil {
		return 0, err
	}
	pair, _ := value.([]any)
	if len(pair) != 2 {
		return 0, fmt.Errorf("%w: %.40q", errProtocol, reply)
	}
	n, ok := pair[1].(int64)
	if !ok {
		return 0, fmt.Errorf("%w: %.40q", errProtocol, reply)
	}
	return n, nil
}

// push is what comes on a subscribed connection. The bytes are good until the
// next is read.
type push struct {
	kind     string // message, pmessage, subscribe, ..., pong; error for an error reply
	name     []byte // of the Redis channel
	payload  []byte // of a message, or a pong
	oversize int    // in place of a payload that is too large, its length
	err      error
}

// push reads the next one.
func (c *pubsubConn) push() (push, error) {
	line, err := c.line()
	if err != nil {
		return push{}, err
	}
	switch {
	case line[0] == '-':
		return push{kind: "error", err: serverError(line[1:])}, nil
	case line[0] != '*':
		return push{}, fmt.Errorf("%w: %.40q", errProtocol, line)
	}
	n, err := strconv.Atoi(string(line[1:]))
	if err != nil || n < 2 {
		return push{}, fmt.Errorf("%w: %.40q", errProtocol, line)
	}
	kind, _, err := c.bulk(0)
	if err != nil {
		return push{}, err
	}
	p := push{kind: string(kind)}
	switch {
	case p.kind == "message" && n == 3:
		if p.name, _, err = c.bulk(1); err == nil {
			p.payload, p.oversize, err = c.bulk(2)
		}
	case p.kind == "pmessage" && n == 4:
		if _, _, err = c.bulk(1); err == nil {
			if p.name, _, err = c.bulk(1); err == nil {
				p.payload, p.oversize, err = c.bulk(2)
			}
		}
	case p.kind == "pong" && n == 2:
		p.payload, _, err = c.bulk(2)
	case n == 3: // subscribe and the like: a name, and how many there are
		if p.name, _, err = c.bulk(1); err == nil {
			_, err = c.line()
		}
	default:
		err = fmt.Errorf("%w: %.40q of %d", errProtocol, p.kind, n)
	}
	return p, err
}

func (c *pubsubConn) line() ([]byte, error) {
	line, err := c.in.ReadSlice('\n')
	if err != nil {
		return nil, err
	}
	if len(line) < 3 {
		return nil, errProtocol
	}
	return line[:len(line)-2], nil
}

// keptScratch is how much memory for reading is kept.
const keptScratch = 64 << 10

// bulk reads a string into a piece of memory that is used again. One that is
// too large is passed over.
func (c *pubsubConn) bulk(into int) (b []byte, oversize int, err error) {
	line, err := c.line()
	if err != nil {
		return nil, 0, err
	}
	n, err := strconv.Atoi(string(line[1:]))
	if err != nil || line[0] != '$' || n < -1 {
		return nil, 0, fmt.Errorf("%w: %.40q", errProtocol, line)
	}
	if n == -1 {
		return nil, 0, nil
	}
	if n > c.most {
		_, err := io.CopyN(io.Discard, c.in, int64(n)+2)
		return nil, n, err
	}
	b = c.scratch[into]
	if cap(b) < n+2 || cap(b) > keptScratch && n < keptScratch/2 {
		b = make([]byte, n+2)
		c.scratch[into] = b
	}
	b = b[:n+2]
	if _, err := io.ReadFull(c.in, b); err != nil {
		return nil, 0, err
	}
	return b[:n], 0, nil
}
