package channelsredis

import (
	"context"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/channellayer/channellayer/internal/redistest"
	"github.com/channellayer/channellayer/layer"
)

func openForeign(t *testing.T, server *redistest.Server) *PubSub {
	t.Helper()
	l, err := OpenPubSub(t.Context(), []string{server.URL()}, Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.Close()) })
	return l
}

func textOf(t *testing.T, l layer.Layer, channel string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	msg, err := l.Receive(ctx, channel)
	require.NoError(t, err, "on %s", channel)
	return msg.String("text")
}

// No channel has the name by which the process hears itself, however many there
// were before.
func TestPubSubEchoIsNoChannel(t *testing.T) {
	server := redistest.Start(t, redistest.Config{})
	a, b, ctx := openForeign(t, server), openForeign(t, server), t.Context()
	n, err := strconv.ParseUint("echo", 36, 64)
	require.NoError(t, err)
	require.EqualValues(t, 669_372, n, "which channel gets this name")
	channel := a.patternFor(layer.DefaultPrefix, "echo")
	require.NoError(t, a.process.Mailboxes().Open(channel)) // as NewChannel does, and for those before it
	require.NoError(t, b.Send(ctx, channel, layer.NewMessage(map[string]any{"type": "t", "text": "hello"})))
	require.Equal(t, "hello", textOf(t, a, channel))
	require.NoError(t, a.Ping(ctx))
	require.Zero(t, a.Stats().Gaps)
}

// What somebody else publishes where a process hears itself is counted, and
// changes nothing: the connection is not taken to be deaf, nor to hear what it has
// not heard.
func TestPubSubForeignEchoes(t *testing.T) {
	server := redistest.Start(t, redistest.Config{})
	client, ctx := server.Client(t), t.Context()
	l := openForeign(t, server)
	require.NoError(t, l.Ping(ctx))
	garbage := []string{"", "garbage", "0", "-1", "1", "18446744073709551615", "\xc0"}
	connections := func() string {
		_, text, _ := strings.Cut(client.Info(ctx, "stats").Val(), "total_connections_received:")
		number, _, _ := strings.Cut(text, "\r\n")
		return number
	}
	before := connections()
	for n, text := range garbage {
		heard, err := client.Publish(ctx, l.echoChannel, text).Result()
		require.NoError(t, err)
		require.EqualValues(t, 1, heard)
		require.NoError(t, l.Ping(ctx), "after %q", text)
		require.EqualValues(t, n+1, l.Stats().Dropped[layer.DropUndecodable], "after %q", text)
	}
	s := l.hosts[0].sub
	seen := func() uint64 {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.seen
	}
	at := seen()
	for end := time.Now().Add(10 * time.Second); seen() < at+2; { // two probes
		require.True(t, time.Now().Before(end), "no probe came")
		time.Sleep(10 * time.Millisecond)
	}
	require.Equal(t, before, connections(), "connections made since then")
	require.Zero(t, l.Stats().Gaps)
}

// A normal channel whose name is a group's on the wire is refused: what is sent
// there would go to the group, and who stops receiving there would end the
// group's subscription.
func TestPubSubChannelNamedAsGroup(t *testing.T) {
	server := redistest.Start(t, redistest.Config{})
	l, ctx := openForeign(t, server), t.Context()
	channel, err := l.NewChannel(ctx, "")
	require.NoError(t, err)
	require.NoError(t, l.GroupAdd(ctx, "room", channel))
	name := "asgi__group__room"
	msg := layer.NewMessage(map[string]any{"type": "t", "text": "hello"})
	limited, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
	defer cancel()
	_, received := l.Receive(limited, name)
	for what, err := range map[string]error{
		"Send": l.Send(ctx, name, msg), "Receive": received, "GroupAdd": l.GroupAdd(ctx, "other", name), "GroupDiscard": l.GroupDiscard(ctx, "other", name),
	} {
		require.ErrorIs(t, err, layer.ErrInvalidName, what)
		require.ErrorContains(t, err, `group "room"`, what)
	}
	require.NoError(t, l.GroupSend(ctx, "room", msg))
	require.Equal(t, "hello", textOf(t, l, channel))
}
