package redislayer_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/channellayer/channellayer/internal/redistest"
	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/redislayer"
)

// refused opens a layer that cannot be had, and returns the error.
func refused(tb testing.TB, url string, options redislayer.Options) error {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), 10*time.Second)
	defer cancel()
	l, err := redislayer.Open(ctx, url, options)
	if err == nil {
		l.Close()
	}
	require.Error(tb, err)
	require.NoError(tb, ctx.Err(), "an error that was found at once, not at the end of ctx: %v", err)
	return err
}

func TestBadOptions(t *testing.T) {
	for want, options := range map[string]redislayer.Options{
		`limits "Capacity": layer: invalid option: -1 is negative`:                                        {Limits: layer.Limits{Capacity: -1}},
		`redislayer options "InboxCapacity": layer: invalid option: -1 is negative`:                       {InboxCapacity: -1},
		`redislayer options "InboxBytes": layer: invalid option: -1 is negative`:                          {InboxBytes: -1},
		`redislayer options "Timeout": layer: invalid option: -1ns is negative`:                           {Timeout: -1},
		`redislayer options "Lease": layer: invalid option: -1ns is negative`:                             {Lease: -1},
		`redislayer options "Lease": layer: invalid option: 2562047h47m16.854775807s is too long`:         {Lease: math.MaxInt64},
		`redislayer options "Lease": layer: invalid option: 3s is below four times the Timeout of 1s`:     {Lease: 3 * time.Second, Timeout: time.Second},
		`redislayer options "GapSpread": layer: invalid option: -1ns is negative`:                         {GapSpread: -1},
		`redislayer options "Prefix": layer: invalid option: group name "a:b": layer: invalid name: `:     {Prefix: "a:b"},
		`redislayer options "EncryptionKeys[0]": layer: invalid option: it has 0 bytes, not 32`:           {EncryptionKeys: [][]byte{nil}},
		`redislayer options "EncryptionKeys[1]": layer: invalid option: it has 31 bytes, not 32`:          {EncryptionKeys: [][]byte{key(1), key(2)[1:]}},
		`redislayer options "EncryptionKeys[1]": layer: invalid option: it is all zeroes`:                 {EncryptionKeys: [][]byte{key(1), key(0)}},
		`redislayer options "EncryptionKeys[2]": layer: invalid option: it is there twice`:                {EncryptionKeys: [][]byte{key(1), key(2), key(1)}},
		`redislayer options "GapMessage": layer: invalid option: message "a": layer: invalid message: `:   {GapMessage: layer.NewMessage(map[string]any{"a": struct{}{}})},
		`redislayer options "GapMessage": layer: invalid option: send: layer: message too large: 17 byte`: {GapMessage: text(""), Limits: layer.Limits{MaxMessageSize: 13}},
	} {
		err := refused(t, "redis://127.0.0.1:1", options)
		require.ErrorIs(t, err, layer.ErrInvalidOption)
		require.Contains(t, err.Error(), want)
	}
	ring := redis.NewRing(&redis.RingOptions{})
	defer ring.Close()
	_, err := redislayer.New(ring, redislayer.Options{})
	require.EqualError(t, err, `redislayer options "client": layer: invalid option: *redis.Ring is not supported; use *redis.Client or *redis.ClusterClient`)
}

func TestBadURL(t *testing.T) {
	for url, want := range map[string]string{
		"":                        "does not begin with redis://",
		"localhost:6379":          "does not begin with redis://",
		"redis://localhost/abc":   `invalid database number: "abc"`,
		"redis://localhost?foo=1": "unexpected option: foo",
	} {
		err := refused(t, url, redislayer.Options{})
		require.ErrorContains(t, err, "redislayer url: ", "url %q", url)
		require.ErrorContains(t, err, want, "url %q", url)
	}
}

func TestServerIsAway(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err := redislayer.Open(ctx, "redis://127.0.0.1:1", redislayer.Options{})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorIs(t, err, layer.ErrUnavailable)
	require.ErrorContains(t, err, "connection refused")
}

// Set-up that is wrong is found when the layer is opened, and told in a way
// that says what to do.
func TestSetupErrors(t *testing.T) {
	server := redistest.Start(t, redistest.Config{Users: []string{
		"default off", "reader on >secret ~channellayer:* &* +@read +@connection +info", "tester on >secret ~* &* +@all",
	}})
	as := func(user string) string { return "redis://" + user + "@" + server.Addr() }
	for name, test := range map[string]struct{ url, want string }{
		"no user":        {"redis://" + server.Addr(), "check user and password: NOAUTH"},
		"unknown user":   {as("nobody:secret"), "check user and password: WRONGPASS"},
		"wrong password": {as("tester:wrong"), "check user and password: WRONGPASS"},
		"no database":    {as("tester:secret") + "/16", "the server has no database of that number: ERR DB index is out of range"},
		"no rights":      {as("reader:secret"), "the user lacks rights (OPERATIONS.md lists those it needs): NOPERM"},
		"too old":        {"redis://" + pretend(t, "6.0.16"), "the server is Redis 6.0.16; 6.2 or newer is needed"},
	} {
		err := refused(t, test.url, redislayer.Options{})
		var setup *redislayer.SetupError
		require.ErrorAs(t, err, &setup, "%s: got %v", name, err)
		require.ErrorContains(t, err, test.want, name)
	}
}

// pretend is a server that answers PING and INFO as a Redis of that version,
// and nothing else.
func pretend(tb testing.TB, version string) (addr string) {
	tb.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(tb, err)
	ended := make(chan struct{})
	tb.Cleanup(func() {
		listener.Close()
		<-ended
	})
	go func() {
		defer close(ended)
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			serveVersion(c, version)
		}
	}()
	return listener.Addr().String()
}

func serveVersion(c net.Conn, version string) {
	defer c.Close()
	info := "redis_version:" + version + "\r\nrun_id:1\r\n"
	for lines := bufio.NewScanner(c); lines.Scan(); {
		switch strings.ToLower(lines.Text()) {
		case "ping":
			fmt.Fprint(c, "+PONG\r\n")
		case "info":
			fmt.Fprintf(c, "$%d\r\n%s\r\n", len(info), info)
		case "hello", "client":
			fmt.Fprint(c, "-ERR unknown command\r\n")
		}
	}
}

// A key of the layer's that holds something else costs what uses it, and
// nothing else.
func TestKeyOfAnotherType(t *testing.T) {
	server := redistest.Start(t, redistest.Config{})
	ctx := t.Context()
	a, b := open(t, server.URL(), redislayer.Options{}), open(t, server.URL(), redislayer.Options{})
	channel := newChannel(t, b)
	client := server.Client(t)
	for _, key := range []string{"group:bad", "queue:bad"} {
		require.NoError(t, client.Set(ctx, redislayer.DefaultPrefix+":"+key, "x", 0).Err())
	}
	for what, err := range map[string]error{
		"GroupAdd":  b.GroupAdd(ctx, "bad", channel),
		"GroupSend": a.GroupSend(ctx, "bad", text("x")),
		"Send":      a.Send(ctx, "bad", text("x")),
	} {
		var setup *redislayer.SetupError
		require.ErrorAs(t, err, &setup, "%s: %v", what, err)
		require.ErrorContains(t, err, "a key under the prefix holds something else; choose another Prefix: WRONGTYPE", what)
		require.ErrorIs(t, err, layer.ErrUnavailable, what)
	}
	require.NoError(t, b.GroupAdd(ctx, "good", channel))
	require.NoError(t, a.GroupSend(ctx, "good", text("to the group")))
	require.Equal(t, "to the group", receive(t, b, channel).String("text"))
	require.NoError(t, a.Send(ctx, channel, text("to the channel")))
	require.Equal(t, "to the channel", receive(t, b, channel).String("text"))

	require.NoError(t, client.Del(ctx, redislayer.DefaultPrefix+":group:bad", redislayer.DefaultPrefix+":queue:bad").Err())
	require.NoError(t, b.GroupAdd(ctx, "bad", channel))
	require.NoError(t, a.GroupSend(ctx, "bad", text("good again")))
	require.Equal(t, "good again", receive(t, b, channel).String("text"))
	require.Zero(t, a.Stats().Gaps+b.Stats().Gaps)
}

// Whoever overwrites a process's own keys stops it, with an error that says
// why, until they are removed.
func TestOwnKeyOfAnotherType(t *testing.T) {
	server := redistest.Start(t, redistest.Config{})
	ctx := t.Context()
	gaps := make(chan gap, 10)
	l := open(t, server.URL(), redislayer.Options{Timeout: time.Second, Lease: 4 * time.Second, Observer: observeGaps(gaps)})
	other := open(t, server.URL(), redislayer.Options{})
	channel := newChannel(t, l)
	require.NoError(t, l.GroupAdd(ctx, "room", channel))
	lease := strings.Replace(inboxOf(channel), ":inbox:", ":lease:", 1)
	client := server.Client(t)
	require.NoError(t, client.Set(ctx, lease, "x", 0).Err())

	var err error
	soon(t, "an error that says what is wrong", func() bool {
		err = l.Ping(ctx)
		var setup *redislayer.SetupError
		return errors.As(err, &setup)
	})
	require.ErrorContains(t, err, "a key under the prefix holds something else")
	require.NoError(t, l.Send(ctx, channel, text("within the process")))
	require.Equal(t, "within the process", receive(t, l, channel).String("text"))

	require.NoError(t, client.Del(ctx, lease).Err())
	require.Contains(t, (<-gaps).reason, "lost")
	require.NoError(t, other.GroupSend(ctx, "room", text("after it")))
	require.Equal(t, "after it", receive(t, l, channel).String("text"))
}
