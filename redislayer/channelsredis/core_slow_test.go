package channelsredis_test

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/channellayer/channellayer/internal/redistest"
	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/redislayer/channelsredis"
)

// slowConn is a connection on which so many bytes come in a second.
type slowConn struct{ net.Conn }

const slowRate = 1 << 20

func (s slowConn) Read(b []byte) (int, error) {
	n, err := s.Conn.Read(b[:min(len(b), slowRate/20)])
	time.Sleep(time.Duration(n) * time.Second / slowRate)
	return n, err
}

// What a pop has taken out of a queue arrives, however long it takes on the way.
func TestCoreSlowLink(t *testing.T) {
	ctx := t.Context()
	server := redistest.Start(t, redistest.Config{})
	client := redis.NewClient(&redis.Options{Addr: server.Addr(), Dialer: func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := new(net.Dialer).DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return slowConn{c}, nil
	}})
	defer client.Close()
	receiver, err := channelsredis.NewCore(channelsredis.Options{Hosts: []redis.UniversalClient{client}, Observer: layer.Observer{
		Gap: func(from, to time.Time, why string) { t.Errorf("a gap of %v: %s", to.Sub(from), why) },
	}})
	require.NoError(t, err)
	defer receiver.Close()
	sender := openOne(t, server, channelsredis.Options{})
	channel := newOwn(t, receiver)
	const messages = 30
	text := strings.Repeat("x", slowRate/10) // 3 s together, of which the first comes alone, or few do
	for range messages {
		require.NoError(t, sender.Send(ctx, channel, say(text)))
	}
	for range messages {
		require.Equal(t, text, next(t, receiver, channel).String("text"))
	}
}
