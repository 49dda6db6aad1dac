package channelsredis_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/channellayer/channellayer/internal/redistest"
	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/redislayer/channelsredis"
)

// overLayers runs a test with two layers of each kind on one server.
func overLayers(t *testing.T, config redistest.Config, test func(t *testing.T, server *redistest.Server, sender, receiver layer.Layer)) {
	for name, open := range map[string]func(string) (layer.Layer, error){
		"Core": func(url string) (layer.Layer, error) {
			return channelsredis.OpenCore(t.Context(), []string{url}, channelsredis.Options{Capacity: 1 << 20, Timeout: 5 * time.Second})
		},
		"PubSub": func(url string) (layer.Layer, error) {
			return channelsredis.OpenPubSub(t.Context(), []string{url}, channelsredis.Options{Capacity: 1 << 20, Timeout: 5 * time.Second})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := redistest.Start(t, config)
			var layers [2]layer.Layer
			for i := range layers {
				l, err := open(server.URL())
				require.NoError(t, err)
				t.Cleanup(func() { require.NoError(t, l.Close()) })
				layers[i] = l
			}
			test(t, server, layers[0], layers[1])
		})
	}
}

// storm sends from several goroutines, to a channel and to the channel's group,
// while something goes wrong again and again. What is received then is in the
// order of each sender, and nothing twice; what was not sent is not among it; and
// when all is well again everything works. It returns how many were sent, and how
// many of those received.
func storm(t *testing.T, sender, receiver layer.Layer, wrong func() (again time.Duration), heal func()) (sent, received int) {
	const senders, lasts = 4, time.Second
	ctx := t.Context()
	channel := newOwn(t, receiver)
	soon(t, "the channel to be in its group", func() bool { return receiver.GroupAdd(ctx, "g", channel) == nil })

	var all sync.WaitGroup
	end := time.Now().Add(lasts)
	all.Go(func() {
		for time.Now().Before(end) {
			time.Sleep(wrong())
		}
	})
	outcomes := make([][]error, senders)
	for s := range senders {
		all.Go(func() {
			for n := 0; time.Now().Before(end); n++ {
				msg := layer.NewMessage(map[string]any{"type": "storm", "sender": s, "n": n})
				var err error
				if n%2 == 0 {
					err = sender.Send(ctx, channel, msg)
				} else {
					err = sender.GroupSend(ctx, "g", msg)
				}
				outcomes[s] = append(outcomes[s], err)
				if err != nil {
					time.Sleep(time.Millisecond)
				}
			}
		})
	}
	got := make([]map[int]bool, senders)
	last := make([]int, senders)
	for s := range senders {
		got[s], last[s] = map[int]bool{}, -1
	}
	receiving, stop := context.WithCancel(ctx)
	ended := make(chan struct{}, 1)
	var reading sync.WaitGroup
	reading.Go(func() {
		for msg, err := range layer.Messages(receiving, receiver, channel) {
			s, n := int(msg.Int("sender")), int(msg.Int("n"))
			switch {
			case err != nil:
			case msg.Type() == "end":
				select {
				case ended <- struct{}{}:
				default:
				}
			case n <= last[s]:
				t.Errorf("message %d of sender %d came after %d", n, s, last[s])
			default:
				last[s], got[s][n] = n, true
			}
		}
	})
	all.Wait()
	heal()
	for _, l := range []layer.Layer{sender, receiver} {
		soon(t, "the layer to recover", func() bool { return layer.Ping(ctx, l) == nil })
	}
	soon(t, "the last message", func() bool {
		require.NoError(t, sender.GroupSend(ctx, "g", layer.NewMessage(map[string]any{"type": "end"})))
		select {
		case <-ended:
			return true
		case <-time.After(100 * time.Millisecond):
			return false
		}
	})
	stop()
	reading.Wait()
	for s := range senders {
		for n, err := range outcomes[s] {
			switch {
			case err == nil:
				sent++
				if got[s][n] {
					received++
				}
			case errors.Is(err, layer.ErrNotSent) == errors.Is(err, layer.ErrMaybeSent):
				t.Errorf("the error of message %d of sender %d tells not which outcome it had: %v", n, s, err)
			case errors.Is(err, layer.ErrNotSent) && got[s][n]:
				t.Errorf("message %d of sender %d was received, and its error was: %v", n, s, err)
			}
		}
	}
	t.Logf("%d sent, %d received", sent, received)
	require.Positive(t, received)
	return sent, received
}

// Connections are killed one after another, whichever it is. What is lost with
// one is told.
func TestStormOfKills(t *testing.T) {
	overLayers(t, redistest.Config{}, func(t *testing.T, server *redistest.Server, sender, receiver layer.Layer) {
		client := server.Client(t)
		sent, received := storm(t, sender, receiver, func() time.Duration {
			var ids []string
			for line := range strings.Lines(client.ClientList(t.Context()).Val()) {
				first, _, _ := strings.Cut(line, " ")
				ids = append(ids, strings.TrimPrefix(first, "id="))
			}
			if len(ids) > 0 {
				client.ClientKillByFilter(t.Context(), "ID", ids[rand.IntN(len(ids))], "SKIPME", "yes")
			}
			return time.Duration(rand.IntN(20)) * time.Millisecond
		}, func() {})
		if received < sent {
			require.Positive(t, receiver.(layer.Statser).Stats().Gaps, "%d of %d messages are lost", sent-received, sent)
		}
	})
}

// Scripts are forgotten all the time, and nothing is lost.
func TestStormOfScriptFlushes(t *testing.T) {
	overLayers(t, redistest.Config{}, func(t *testing.T, server *redistest.Server, sender, receiver layer.Layer) {
		client := server.Client(t)
		sent, received := storm(t, sender, receiver, func() time.Duration {
			client.ScriptFlush(t.Context())
			return time.Duration(rand.IntN(3)) * time.Millisecond
		}, func() {})
		require.Equal(t, sent, received)
	})
}

// The server becomes a replica, which may not be written to, and a master again.
func TestStormOfRoles(t *testing.T) {
	overLayers(t, redistest.Config{}, func(t *testing.T, server *redistest.Server, sender, receiver layer.Layer) {
		client, ctx := server.Client(t), t.Context()
		replica := false
		storm(t, sender, receiver, func() time.Duration {
			if replica = !replica; replica {
				client.ReplicaOf(ctx, "127.0.0.1", "1")
				return 30 * time.Millisecond
			}
			client.ReplicaOf(ctx, "NO", "ONE")
			return 100 * time.Millisecond
		}, func() { client.ReplicaOf(ctx, "NO", "ONE") })
	})
}

// Memory becomes full, and there is room again.
func TestStormOfMemory(t *testing.T) {
	overLayers(t, redistest.Config{}, func(t *testing.T, server *redistest.Server, sender, receiver layer.Layer) {
		client := server.Client(t)
		full := false
		sent, received := storm(t, sender, receiver, func() time.Duration {
			if full = !full; full {
				client.ConfigSet(t.Context(), "maxmemory", "1")
			} else {
				client.ConfigSet(t.Context(), "maxmemory", "0")
			}
			return time.Duration(rand.IntN(20)) * time.Millisecond
		}, func() { client.ConfigSet(t.Context(), "maxmemory", "0") })
		require.Equal(t, sent, received)
	})
}

// A server that may not be written to says so, and what it refused was not sent.
func TestReadOnlyReplica(t *testing.T) {
	server := redistest.Start(t, redistest.Config{})
	client, ctx := server.Client(t), t.Context()
	c := openOne(t, server, channelsredis.Options{})
	other := openOne(t, server, channelsredis.Options{})
	theirs := newOwn(t, other)
	require.NoError(t, c.GroupAdd(ctx, "g", theirs))
	require.NoError(t, client.ReplicaOf(ctx, "127.0.0.1", "1").Err())
	for what, call := range map[string]func() error{
		"Send":      func() error { return c.Send(ctx, theirs, note(1)) },
		"GroupSend": func() error { return c.GroupSend(ctx, "g", note(1)) },
		"GroupAdd":  func() error { return c.GroupAdd(ctx, "g", "jobs") },
	} {
		soon(t, "the connection", func() bool { return c.Ping(ctx) == nil }) // another is made after each refusal
		err := call()
		require.ErrorIs(t, err, layer.ErrNotSent, what)
		require.ErrorIs(t, err, layer.ErrUnavailable, what)
		require.ErrorContains(t, err, "READONLY", what)
	}
	require.NoError(t, client.ReplicaOf(ctx, "NO", "ONE").Err())
	soon(t, "the message to be sent", func() bool { return c.Send(ctx, theirs, note(2)) == nil })
	require.Equal(t, int64(2), next(t, other, theirs).Int("n"))
	silent(t, other, theirs)
}
