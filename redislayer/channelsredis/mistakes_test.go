package channelsredis_test

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/channellayer/channellayer/internal/redistest"
	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/redislayer/channelsredis"
)

// What somebody who comes from Django does wrong first, is told by name.

var bothLayers = map[string]func(context.Context, []string, channelsredis.Options) (layer.Layer, error){
	"Core": func(ctx context.Context, urls []string, o channelsredis.Options) (layer.Layer, error) {
		return channelsredis.OpenCore(ctx, urls, o)
	},
	"PubSub": func(ctx context.Context, urls []string, o channelsredis.Options) (layer.Layer, error) {
		return channelsredis.OpenPubSub(ctx, urls, o)
	},
}

// overBoth runs a test with either layer, and a function that makes one more of
// them on the same server.
func overBoth(t *testing.T, test func(t *testing.T, open func(channelsredis.Options) layer.Layer)) {
	server := redistest.Start(t, redistest.Config{})
	for name, opener := range bothLayers {
		t.Run(name, func(t *testing.T) {
			test(t, func(o channelsredis.Options) layer.Layer {
				l, err := opener(t.Context(), []string{server.URL()}, o)
				require.NoError(t, err)
				t.Cleanup(func() { require.NoError(t, l.Close()) })
				return l
			})
		})
	}
}

// Of several hosts, an error says which it is about.
func TestOpenNamesHost(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, redistest.Config{Users: []string{"default on nopass ~* &* +@all", "reader on >secret ~asgi* &* +@all"}})
	silent := silentServer(t)
	for layerName, open := range bothLayers {
		for name, test := range map[string]struct {
			url, want string
			setup     bool
		}{
			"URL":            {"127.0.0.1:6379", "channelsredis url 1: it does not begin with redis://", false},
			"wrong password": {"redis://reader:wrong@" + server.Addr(), "host 1 (" + server.Addr() + "): channelsredis: layer: the broker is away: channelsredis: check user and password: WRONGPASS", true},
			"no database":    {"redis://" + server.Addr() + "/16", "host 1 (" + server.Addr() + "): channelsredis: layer: the broker is away: channelsredis: the server has no database of that number: ERR DB index is out of range", true},
			"silent":         {"redis://" + silent, "host 1 (" + silent + "): ", false},
			"silent, by TLS": {"rediss://" + silent, "host 1 (" + silent + "): ", false},
		} {
			t.Run(layerName+" "+name, func(t *testing.T) {
				t.Parallel()
				ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
				defer cancel()
				_, err := open(ctx, []string{server.URL(), test.url}, channelsredis.Options{Timeout: time.Second})
				require.ErrorContains(t, err, test.want)
				var setup *channelsredis.SetupError
				if test.setup {
					require.ErrorAs(t, err, &setup)
					require.NoError(t, ctx.Err(), "what does not go away is not waited for")
				}
			})
		}
	}
}

// A message that ends every consumer of Django's that gets it is not sent.
func TestTypeWithoutHandler(t *testing.T) {
	overBoth(t, func(t *testing.T, open func(channelsredis.Options) layer.Layer) {
		strict, lax := open(channelsredis.Options{}), open(channelsredis.Options{AllowUntyped: true})
		ctx := t.Context()
		for name, l := range map[string]layer.Layer{"strict": strict, "lax": lax} {
			channel := newOwn(t, l)
			require.NoError(t, l.GroupAdd(ctx, "room", channel))
			for _, test := range []struct {
				fields map[string]any
				want   string
			}{
				{nil, "it is missing"},
				{map[string]any{"text": "x"}, "it is missing"},
				{map[string]any{"type": nil}, "it is no string (<nil>)"},
				{map[string]any{"type": 3}, "it is no string (int64)"},
				{map[string]any{"type": ""}, `it "" has no handler`},
				{map[string]any{"type": "_note"}, `it "_note" has no handler`},
				{map[string]any{"type": ".note"}, `it ".note" has no handler`},
			} {
				msg := layer.NewMessage(test.fields)
				for what, err := range map[string]error{"Send": l.Send(ctx, channel, msg), "GroupSend": l.GroupSend(ctx, "room", msg)} {
					if name == "lax" {
						require.NoError(t, err, "%s of %v", what, test.fields)
						continue
					}
					require.ErrorIs(t, err, layer.ErrInvalidMessage, "%s of %v", what, test.fields)
					require.ErrorIs(t, err, layer.ErrNotSent)
					require.ErrorContains(t, err, test.want)
				}
			}
			if name == "strict" {
				require.NoError(t, l.Send(ctx, channel, say("last")))
				require.Equal(t, "last", next(t, l, channel).String("text"), "what was refused did not come")
			}
			require.NoError(t, l.GroupDiscard(ctx, "room", channel))
		}
	})
}

// What a format cannot hold is refused also where it would stay within the
// process: otherwise it would seem to work until the first member elsewhere comes.
func TestFormatCannotHold(t *testing.T) {
	overBoth(t, func(t *testing.T, open func(channelsredis.Options) layer.Layer) {
		l, ctx := open(channelsredis.Options{SerializerFormat: channelsredis.JSON{}}), t.Context()
		channel := newOwn(t, l)
		require.NoError(t, l.GroupAdd(ctx, "room", channel))
		msg := layer.NewMessage(map[string]any{"type": "image", "data": map[string]any{"png": []byte("x")}})
		for what, err := range map[string]error{
			"Send":                     l.Send(ctx, channel, msg),
			"Send, normal channel":     l.Send(ctx, "jobs", msg),
			"GroupSend":                l.GroupSend(ctx, "room", msg),
			"GroupSend, again":         l.GroupSend(ctx, "room", msg),
			"GroupSend, empty group":   l.GroupSend(ctx, "nobody", msg),
			"GroupSend, nobody, again": l.GroupSend(ctx, "nobody", msg),
		} {
			require.ErrorIs(t, err, layer.ErrInvalidMessage, what)
			require.ErrorIs(t, err, layer.ErrNotSent, what)
			require.ErrorContains(t, err, `serialize "data.png": layer: invalid message: JSON has no bytes`, what)
		}
		require.NoError(t, l.Send(ctx, channel, say("last")))
		require.Equal(t, "last", next(t, l, channel).String("text"), "what was refused did not come")
	})
}

// Whoever has no keys is told that messages are encrypted.
func TestEncryptedForNoKeys(t *testing.T) {
	overBoth(t, func(t *testing.T, open func(channelsredis.Options) layer.Layer) {
		for name, format := range map[string]channelsredis.Serializer{"msgpack": channelsredis.MsgPack{}, "JSON": channelsredis.JSON{}} {
			log := make(lines, 100)
			sender := open(channelsredis.Options{Prefix: name, SymmetricEncryptionKeys: []string{"secret"}, SerializerFormat: format})
			reader := open(channelsredis.Options{Prefix: name, SerializerFormat: format, Logger: slog.New(slog.NewTextHandler(log, nil))})
			require.NoError(t, sender.Send(t.Context(), newOwn(t, reader), say("x")), name)
			require.Eventually(t, func() bool {
				stats, _ := layer.ReadStats(reader)
				return stats.Dropped[layer.DropUndecodable] == 1
			}, patience, time.Millisecond, name)
			require.Contains(t, <-log, "it is encrypted, and no SymmetricEncryptionKeys are set here", name)
		}
	})
}

// lines is a log, line by line.
type lines chan string

func (l lines) Write(b []byte) (int, error) {
	select {
	case l <- string(b):
	default:
	}
	return len(b), nil
}

// The log says why a server cannot be reached, and does not say it again with
// every attempt.
func TestLogOfAnOutage(t *testing.T) {
	for name, open := range bothLayers {
		t.Run(name, func(t *testing.T) {
			log := make(lines, 100)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			_, err := open(ctx, []string{"redis://127.0.0.1:1"}, channelsredis.Options{Logger: slog.New(slog.NewTextHandler(log, nil))})
			require.ErrorIs(t, err, context.DeadlineExceeded)
			close(log)
			want := map[string]int{"redis is away": 1}
			if name == "Core" {
				want["reader lost redis"] = 2 // of its own queues, and of normal channels
			}
			told := map[string]int{}
			for line := range log {
				for message := range want {
					if strings.Contains(line, message) && strings.Contains(line, "host=0") && strings.Contains(line, "connection refused") {
						told[message]++
					}
				}
			}
			require.Equal(t, want, told, "lines in a second with some eight attempts")
		})
	}
}
