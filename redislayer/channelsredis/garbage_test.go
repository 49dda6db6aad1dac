package channelsredis_test

import (
	"bytes"
	"errors"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/channellayer/channellayer/internal/redistest"
	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/redislayer/channelsredis"
)

// babble is between a layer and its server. It puts something else in the place of
// what the server says about "unlucky", or in answer to it.
type babble struct {
	mu   sync.Mutex
	text string            // once; "" for nothing
	next map[net.Conn]bool // servers whose next words are replaced
}

func (b *babble) say(text string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.text = text
}

func (b *babble) proxy(t *testing.T, target string) (addr string) {
	b.next = map[net.Conn]bool{}
	copyTo := func(from, to net.Conn, server net.Conn) {
		defer to.Close()
		buf := make([]byte, 64<<10)
		for {
			n, err := from.Read(buf)
			if err != nil {
				return
			}
			words := buf[:n]
			unlucky := bytes.Contains(words, []byte("unlucky"))
			b.mu.Lock()
			switch {
			case b.text == "":
			case from != server && unlucky:
				b.next[server] = true
			case from == server && (unlucky || b.next[server]):
				words = []byte(b.text)
				b.text = ""
				clear(b.next)
			}
			b.mu.Unlock()
			if _, err := to.Write(words); err != nil {
				return
			}
		}
	}
	return proxy(t, target,
		func(client, server net.Conn) { copyTo(client, server, server) },
		func(server, client net.Conn) { copyTo(server, client, server) })
}

// layers are two of each kind on one server: one behind b, and a sound one.
func (b *babble) layers(t *testing.T) map[string][2]layer.Layer {
	t.Helper()
	server := redistest.Start(t, redistest.Config{})
	direct := []string{server.URL()}
	behind := []string{"redis://" + b.proxy(t, server.Addr())}
	o := channelsredis.Options{Timeout: time.Second}
	return map[string][2]layer.Layer{
		"Core":   {openCoreOn(t, behind, o), openCoreOn(t, direct, o)},
		"PubSub": {openPubSub(t, behind, o), openPubSub(t, direct, o)},
	}
}

// No replies, or none to what was asked.
var gibberish = []string{
	"-ERR something new\r\n", "$-1\r\n", "*-1\r\n", "*0\r\n", "+OK\r\n", "*2\r\n+a\r\n+b\r\n", "$3\r\nabc\r\n",
	"HTTP/1.1 400 Bad Request\r\n\r\n", "$99999999999\r\n", "$-7\r\n", "*99999999\r\n", ">1\r\n+x\r\n", "%1\r\n+a\r\n+b\r\n", "\r\n", "\x00\xff\n",
	strings.Repeat("*1\r\n", 20) + ":1\r\n", ":\r\n", ":99999999999999999999\r\n",
}

// What is no reply to a send leaves its outcome unknown, and harms nothing but the
// connection that it came on.
func TestGibberishInAnswer(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	var between babble
	for name, layers := range between.layers(t) {
		l, sound := layers[0], layers[1]
		theirs := newOwn(t, sound)
		require.NoError(t, sound.GroupAdd(ctx, "g", theirs))
		texts := gibberish
		if name == "Core" {
			texts = append(slices.Clone(texts), ":5\r\n")
		}
		for _, text := range texts {
			for what, send := range map[string]func(layer.Message) error{
				"Send":      func(m layer.Message) error { return l.Send(ctx, theirs, m) },
				"GroupSend": func(m layer.Message) error { return l.GroupSend(ctx, "g", m) },
			} {
				soon(t, "the layer to recover", func() bool { return send(say("before")) == nil })
				require.Equal(t, "before", next(t, sound, theirs).String("text"))
				between.say(text)
				began := time.Now()
				err := send(say("unlucky"))
				require.Less(t, time.Since(began), 3*time.Second, "%s.%s, answered %q", name, what, text)
				require.ErrorIs(t, err, layer.ErrMaybeSent, "%s.%s, answered %q", name, what, text)
				require.ErrorIs(t, err, layer.ErrUnavailable)
				require.Equal(t, "unlucky", next(t, sound, theirs).String("text"))
			}
		}
		silent(t, sound, theirs)
	}
}

// What is no message, where one is received, is a gap; then others come.
func TestGibberishReceived(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	var between babble
	for name, layers := range between.layers(t) {
		l, sound := layers[0], layers[1]
		own := newOwn(t, l)
		for n, text := range []string{
			"*2\r\n+a\r\n+b\r\n", "*2\r\n*0\r\n*0\r\n", "*2\r\n$1\r\nk\r\n*1\r\n*1\r\n$1\r\nx\r\n", "HTTP/1.1 400 Bad Request\r\n\r\n",
			"$99999999999\r\n", "*99999999\r\n", ">1\r\n+x\r\n", "\r\n", "\x00\xff\n", strings.Repeat("*1\r\n", 20) + ":1\r\n",
			"*3\r\n$7\r\nmessage\r\n$1\r\nx\r\n:5\r\n", "*4\r\n$8\r\npmessage\r\n", "*3\r\n$9\r\nsubscribe\r\n$1\r\nx\r\n:1\r\n", "*2\r\n$4\r\npong\r\n$1\r\nx\r\n",
		} {
			between.say(text)
			var err error
			soon(t, "the message to leave", func() bool {
				err = sound.Send(ctx, own, say("unlucky"))
				return !errors.Is(err, layer.ErrChannelGone) // PubSub, before it has subscribed again
			})
			require.NoError(t, err)
			soon(t, name+": a gap, after "+text, func() bool { return l.(layer.Statser).Stats().Gaps >= uint64(n+1) })
			soon(t, "the layer to recover", func() bool { return layer.Ping(ctx, l) == nil })
			require.NoError(t, sound.Send(ctx, own, say("after")))
			require.Equal(t, "after", next(t, l, own).String("text"), "%s, after %q", name, text)
		}
	}
}
