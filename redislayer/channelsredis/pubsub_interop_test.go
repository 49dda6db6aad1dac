package channelsredis_test

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/channellayer/channellayer/internal/pypeer"
	"github.com/channellayer/channellayer/internal/redistest"
	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/redislayer/channelsredis"
)

// pubsubBus is a bus with a PubSub and a Python layer on it.
type pubsubBus struct {
	option  string
	urls    []string
	servers []*redistest.Server
	clients []*redis.Client
	python  *pypeer.Process
	ours    *channelsredis.PubSub
	theirs  *pypeer.Layer
	prefix  string
	config  pypeer.Options // Python's, and Go's to the same effect
}

// overPubSub runs a test for each set of options that this channels_redis has.
// It returns before they have run.
func overPubSub(t *testing.T, test func(t *testing.T, b *pubsubBus)) {
	pypeer.Need(t)
	type option struct {
		name   string
		hosts  int
		theirs pypeer.Options
	}
	options := []option{{plain, 1, pypeer.Options{}}, {twoHosts, 2, pypeer.Options{}}, {otherPrefix, 1, pypeer.Options{Prefix: "site.42:"}}}
	if pypeer.HasSerializers() {
		options = append(options,
			option{encrypted, 1, pypeer.Options{Keys: someKeys}},
			option{asJSON, 1, pypeer.Options{SerializerFormat: "json"}},
			option{encryptedJSON, 1, pypeer.Options{SerializerFormat: "json", Keys: someKeys}})
	}
	for _, option := range options {
		t.Run(option.name, func(t *testing.T) {
			t.Parallel() // each has servers of its own, and waits a lot
			b := newPubSubBus(t, option.hosts, option.theirs, channelsredis.Options{Capacity: 20_000})
			b.option = option.name
			test(t, b)
		})
	}
}

func newPubSubBus(t *testing.T, hosts int, theirs pypeer.Options, ours channelsredis.Options) *pubsubBus {
	t.Helper()
	b := &pubsubBus{prefix: theirs.Prefix}
	for range hosts {
		server := redistest.Start(t, redistest.Config{})
		b.servers = append(b.servers, server)
		b.urls = append(b.urls, server.URL())
		b.clients = append(b.clients, server.Client(t))
	}
	b.python = pypeer.Start(t)
	theirs.Hosts = b.urls
	b.config = theirs
	b.theirs = b.python.PubSub(theirs)
	b.ours = b.open(t, ours)
	if b.prefix == "" {
		b.prefix = channelsredis.DefaultPrefix
	}
	return b
}

// open makes one more PubSub on the bus.
func (b *pubsubBus) open(t *testing.T, o channelsredis.Options) *channelsredis.PubSub {
	t.Helper()
	o.Prefix, o.SymmetricEncryptionKeys, o.SerializerFormat = b.config.Prefix, b.config.Keys, formatOf(b.config)
	return openPubSub(t, b.urls, o)
}

func openPubSub(t *testing.T, urls []string, o channelsredis.Options) *channelsredis.PubSub {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	o.Logger = slog.New(slog.NewTextHandler(t.Output(), nil))
	l, err := channelsredis.OpenPubSub(ctx, urls, o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.Close()) })
	return l
}

func (b *pubsubBus) record(t *testing.T, operation, direction string) {
	t.Helper()
	record(t, "PubSub", operation, direction, b.option)
}

// subscribed waits until as many have subscribed to a Redis channel: Python does
// not wait for that itself.
func (b *pubsubBus) subscribed(t *testing.T, name string, count int64) {
	t.Helper()
	soon(t, fmt.Sprintf("%d subscriptions to %s", count, name), func() bool {
		var n int64
		for _, c := range b.clients {
			subscribers, err := c.PubSubNumSub(t.Context(), name).Result()
			n += subscribers[name]
			if err != nil {
				return false
			}
		}
		return n == count
	})
}

func (b *pubsubBus) group(name string) string { return b.prefix + "__group__" + name }

// newTheirs makes a Python channel that hears what is sent to it.
func (b *pubsubBus) newTheirs(t *testing.T) string {
	t.Helper()
	channel := b.theirs.NewChannel()
	b.subscribed(t, channel, 1)
	return channel
}

func fromPython(n int) map[string]any { return map[string]any{"type": "test.note", "n": int64(n)} }

func TestInteropPubSubSend(t *testing.T) {
	overPubSub(t, func(t *testing.T, b *pubsubBus) {
		b.record(t, "send to a process-specific channel", goToPython)
		b.record(t, "send to a process-specific channel", pythonToGo)
		for n := range 20 { // names on either host
			theirs := b.newTheirs(t)
			require.NoError(t, b.ours.Send(t.Context(), theirs, note(n)))
			require.Equal(t, fromPython(n), b.theirs.Receive(theirs, patience))

			ours, err := b.ours.NewChannel(t.Context(), []string{"", "another"}[n%2])
			require.NoError(t, err)
			b.theirs.Send(ours, fromPython(n))
			require.EqualValues(t, n, next(t, b.ours, ours).Int("n"))
		}
	})
}

func TestInteropPubSubNormalChannel(t *testing.T) {
	overPubSub(t, func(t *testing.T, b *pubsubBus) {
		for _, channel := range []string{"jobs", "mail", "thumbnails"} {
			worker := b.theirs.StartWorker(channel)
			b.subscribed(t, channel, 1)
			require.NoError(t, b.ours.Send(t.Context(), channel, note(1)))
			soon(t, "the message in Python", func() bool { return worker.Received() == 1 })

			// With a receiver on each side, both get each message.
			got := make(chan layer.Message, 10)
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				for msg, err := range layer.Messages(ctx, b.ours, channel) {
					if err == nil {
						got <- msg
					}
				}
			}()
			b.subscribed(t, channel, 2)
			b.theirs.Send(channel, fromPython(2))
			require.EqualValues(t, 2, (<-got).Int("n"))
			require.NoError(t, b.ours.Send(t.Context(), channel, note(3)))
			require.EqualValues(t, 3, (<-got).Int("n"))
			soon(t, "the messages in Python", func() bool { return worker.Received() == 3 })
			cancel()
			<-ended
			worker.Stop()
		}
		b.record(t, "send to a normal channel", goToPython)
		b.record(t, "send to a normal channel", pythonToGo)
	})
}

// What Go sends to a normal channel before anybody receives there waits for a
// Python worker.
func TestInteropPubSubHeld(t *testing.T) {
	overPubSub(t, func(t *testing.T, b *pubsubBus) {
		for n := range 5 {
			require.NoError(t, b.ours.Send(t.Context(), "jobs", note(n)))
		}
		got, err := b.theirs.ReceiveMany("jobs", 5, 2*time.Second)
		require.NoError(t, err)
		requireSeries(t, got, 5)
		b.record(t, "send to a normal channel before there is a receiver", goToPython)
	})
}

// A Python channel that is gone is an error here, where Python says nothing.
func TestInteropPubSubChannelGone(t *testing.T) {
	overPubSub(t, func(t *testing.T, b *pubsubBus) {
		theirs := b.newTheirs(t)
		_, err := b.theirs.TryReceive(theirs, 100*time.Millisecond) // the time-out ends it
		require.True(t, pypeer.IsType(err, "TimeoutError"), "got %v", err)
		b.subscribed(t, theirs, 0)
		require.ErrorIs(t, b.ours.Send(t.Context(), theirs, note(1)), layer.ErrChannelGone)
		require.NoError(t, b.theirs.TrySend("specific.nobody!1", fromPython(1)))
		b.record(t, "send to a channel that is gone", goToPython)
	})
}

// 10,000 messages each way arrive, in order.
func TestInteropPubSubOrder(t *testing.T) {
	const count = 10_000
	overPubSub(t, func(t *testing.T, b *pubsubBus) {
		ctx := t.Context()
		ours, theirs := newOwn(t, b.ours), b.newTheirs(t)
		require.NoError(t, b.ours.GroupAdd(ctx, "room", ours))
		b.theirs.GroupAdd("room", theirs)
		b.subscribed(t, b.group("room"), 2)
		receive := func() (got []int) {
			for range count {
				got = append(got, int(next(t, b.ours, ours).Int("n")))
			}
			return got
		}
		for n := range count {
			require.NoError(t, b.ours.Send(ctx, theirs, note(n)))
		}
		got, err := b.theirs.ReceiveMany(theirs, count, patience)
		require.NoError(t, err)
		requireSeries(t, got, count)

		sent := make(chan error, 1)
		go func() { sent <- b.theirs.SendMany(ours, 0, count, fromPython(0)) }()
		requireSeries(t, receive(), count)
		require.NoError(t, <-sent)

		go func() { sent <- b.theirs.GroupSendMany("room", 0, count, fromPython(0)) }()
		requireSeries(t, receive(), count)
		require.NoError(t, <-sent)
		got, err = b.theirs.ReceiveMany(theirs, count, patience)
		require.NoError(t, err)
		requireSeries(t, got, count)
		b.record(t, "10,000 messages in order", goToPython)
		b.record(t, "10,000 messages in order", pythonToGo)
	})
}
