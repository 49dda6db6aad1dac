package channelsredis_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
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
}

// overPubSub runs a test for each set of options that channels_redis 4.0.0 has.
func overPubSub(t *testing.T, test func(t *testing.T, b *pubsubBus)) {
	pypeer.Need(t)
	for _, option := range []struct {
		name, prefix string
		hosts        int
	}{{plain, "", 1}, {twoHosts, "", 2}, {otherPrefix, "site.42:", 1}} {
		t.Run(option.name, func(t *testing.T) {
			b := newPubSubBus(t, option.hosts, pypeer.Options{Prefix: option.prefix}, channelsredis.Options{Capacity: 20_000})
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
	theirs.Hosts, ours.Prefix = b.urls, theirs.Prefix
	b.theirs = b.python.PubSub(theirs)
	b.ours = openPubSub(t, b.urls, ours)
	if b.prefix == "" {
		b.prefix = channelsredis.DefaultPrefix
	}
	return b
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

func TestInteropPubSubGroups(t *testing.T) {
	overPubSub(t, func(t *testing.T, b *pubsubBus) {
		ctx := t.Context()
		for i := range 8 { // groups on either host
			group := fmt.Sprintf("room-%d", i)
			ours, theirs := newOwn(t, b.ours), b.theirs.NewChannel()
			require.NoError(t, b.ours.GroupAdd(ctx, group, ours))
			b.theirs.Send(b.group(group), fromPython(-1)) // subscribed when GroupAdd has returned
			require.EqualValues(t, -1, next(t, b.ours, ours).Int("n"))

			b.theirs.GroupAdd(group, theirs)
			b.subscribed(t, b.group(group), 2)
			both := func(n int) {
				require.Equal(t, fromPython(n), b.theirs.Receive(theirs, patience))
				require.EqualValues(t, n, next(t, b.ours, ours).Int("n"))
			}
			require.NoError(t, b.ours.GroupSend(ctx, group, note(1)))
			both(1)
			b.theirs.GroupSend(group, fromPython(2))
			both(2)

			require.NoError(t, b.ours.GroupDiscard(ctx, group, ours))
			b.theirs.GroupSend(group, fromPython(3))
			require.NoError(t, b.ours.GroupSend(ctx, group, note(4)))
			require.Equal(t, fromPython(3), b.theirs.Receive(theirs, patience))
			require.Equal(t, fromPython(4), b.theirs.Receive(theirs, patience))
			require.NoError(t, b.ours.Send(ctx, ours, note(5)))
			require.EqualValues(t, 5, next(t, b.ours, ours).Int("n"), "after the group was left")

			require.NoError(t, b.ours.GroupAdd(ctx, group, ours))
			b.theirs.GroupDiscard(group, theirs)
			b.subscribed(t, b.group(group), 1)
			require.NoError(t, b.ours.GroupSend(ctx, group, note(6)))
			require.EqualValues(t, 6, next(t, b.ours, ours).Int("n"))
			b.theirs.Send(theirs, fromPython(7))
			require.Equal(t, fromPython(7), b.theirs.Receive(theirs, patience), "after the group was left")
		}
		for _, operation := range []string{"group add", "group send", "group discard"} {
			b.record(t, operation, goToPython)
			b.record(t, operation, pythonToGo)
		}
	})
}

// Neither side can add the other's channels; both say so.
func TestInteropPubSubForeignChannels(t *testing.T) {
	overPubSub(t, func(t *testing.T, b *pubsubBus) {
		ours, theirs := newOwn(t, b.ours), b.theirs.NewChannel()
		err := b.ours.GroupAdd(t.Context(), "room", theirs)
		require.ErrorIs(t, err, layer.ErrForeignChannel)
		require.ErrorContains(t, err, theirs)
		err = b.theirs.Try("group_add", map[string]any{"group": "room", "channel": ours})
		require.True(t, pypeer.IsType(err, "RuntimeError"), "got %v", err)
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

func TestInteropPubSubValues(t *testing.T) {
	overPubSub(t, func(t *testing.T, b *pubsubBus) {
		ours, theirs := newOwn(t, b.ours), b.newTheirs(t)
		sent := map[string]any{
			"type": "test.values", "nil": nil, "yes": true, "int": int64(-1 << 63), "float": 1e300, "text": "é😀", "bytes": []byte{0, 255},
			"list": []any{int64(1), []any{}, "x"}, "map": map[string]any{"": map[string]any{}}, "large": strings.Repeat("x", 1_000_000),
		}
		require.NoError(t, b.ours.Send(t.Context(), theirs, layer.NewMessage(sent)))
		require.Equal(t, sent, b.theirs.Receive(theirs, patience))
		b.theirs.Send(ours, sent)
		require.Equal(t, sent, next(t, b.ours, ours).Map())
		b.record(t, "values of every type, 1 MB", goToPython)
		b.record(t, "values of every type, 1 MB", pythonToGo)

		// What no message can hold is dropped, and nothing else is disturbed.
		b.theirs.Send(ours, pypeer.Source("{'type': 'x', 'n': 2**63}"))
		b.theirs.Send(ours, fromPython(1))
		require.EqualValues(t, 1, next(t, b.ours, ours).Int("n"))
		require.EqualValues(t, 1, b.ours.Stats().Dropped[layer.DropUndecodable])
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

// After a restart of Redis both sides hear again; here that is told, with a gap.
func TestInteropPubSubRestart(t *testing.T) {
	overPubSub(t, func(t *testing.T, b *pubsubBus) {
		ctx := t.Context()
		ours, theirs := newOwn(t, b.ours), b.newTheirs(t)
		require.NoError(t, b.ours.GroupAdd(ctx, "room", ours))
		b.theirs.GroupAdd("room", theirs)
		b.subscribed(t, b.group("room"), 2)
		for _, server := range b.servers {
			server.Kill()
		}
		err := b.ours.GroupSend(ctx, "room", note(0))
		require.ErrorIs(t, err, layer.ErrUnavailable)
		for _, server := range b.servers {
			server.Restart(t)
		}
		b.subscribed(t, b.group("room"), 2)
		b.subscribed(t, theirs, 1)
		soon(t, "a gap from each host", func() bool { return b.ours.Stats().Gaps >= uint64(len(b.urls)) })
		require.EqualValues(t, len(b.urls), b.ours.Stats().Gaps)

		require.NoError(t, b.ours.GroupSend(ctx, "room", note(1)))
		require.EqualValues(t, 1, next(t, b.ours, ours).Int("n"))
		require.Equal(t, fromPython(1), b.theirs.Receive(theirs, patience))
		soon(t, "a group send of Python's, whose first connection is dead", func() bool { return b.theirs.TryGroupSend("room", fromPython(2)) == nil })
		require.EqualValues(t, 2, next(t, b.ours, ours).Int("n"))
		require.Equal(t, fromPython(2), b.theirs.Receive(theirs, patience))
		b.record(t, "after a restart of Redis", goToPython)
		b.record(t, "after a restart of Redis", pythonToGo)
	})
}

// PubSub of channels_redis 4.0.0 takes symmetric_encryption_keys, and sends in
// the clear. A Go layer with the keys lets nothing through that is not
// encrypted: it drops and counts it. What Go encrypts, that Python cannot read.
func TestInteropPubSubKeysOfOldPython(t *testing.T) {
	keys := []string{"a key"}
	drops := make(chan string, 10)
	b := newPubSubBus(t, 1, pypeer.Options{Keys: keys}, channelsredis.Options{
		SymmetricEncryptionKeys: keys,
		Observer: layer.Observer{Dropped: func(reason layer.DropReason, name string, count int) {
			drops <- fmt.Sprint(reason, " ", name, " ", count)
		}},
	})
	ctx := t.Context()
	ours, theirs := newOwn(t, b.ours), b.newTheirs(t)
	b.theirs.Send(ours, fromPython(1))
	require.Equal(t, "undecodable "+ours+" 1", <-drops)
	require.NoError(t, b.ours.Send(ctx, theirs, note(2)))
	_, err := b.theirs.TryReceive(theirs, patience)
	require.Error(t, err)
	require.False(t, pypeer.IsType(err, "TimeoutError"), "got %v", err)

	// Later versions encrypt as Python's Fernet does: that is read, of any key.
	b.theirs.GroupSend("room", fromPython(3)) // nobody is in it
	body, err := b.python.Pack(fromPython(4))
	require.NoError(t, err)
	token, err := b.python.Encrypt("a key", body)
	require.NoError(t, err)
	require.NoError(t, b.clients[0].Publish(ctx, ours, token).Err())
	require.EqualValues(t, 4, next(t, b.ours, ours).Int("n"))
	stranger, err := b.python.Encrypt("another key", body)
	require.NoError(t, err)
	require.NoError(t, b.clients[0].Publish(ctx, ours, stranger).Err())
	require.Equal(t, "undecodable "+ours+" 1", <-drops)

	heard := b.clients[0].Subscribe(ctx, b.group("room"))
	defer heard.Close()
	_, err = heard.Receive(ctx)
	require.NoError(t, err)
	require.NoError(t, b.ours.GroupSend(ctx, "room", note(5)))
	msg, err := heard.ReceiveMessage(ctx)
	require.NoError(t, err)
	plain, err := b.python.Decrypt("a key", []byte(msg.Payload), 0)
	require.NoError(t, err)
	value, err := b.python.Unpack(plain)
	require.NoError(t, err)
	require.Equal(t, fromPython(5), value)
}

// Several processes of both languages in one group: each member hears each
// message once, whoever sends it.
func TestInteropPubSubSeveralProcesses(t *testing.T) {
	overPubSub(t, func(t *testing.T, b *pubsubBus) {
		ctx := t.Context()
		second := openPubSub(t, b.urls, channelsredis.Options{Prefix: b.prefix, Capacity: 1000})
		python2 := pypeer.Start(t).PubSub(pypeer.Options{Hosts: b.urls, Prefix: b.prefix})
		type member struct {
			l       *channelsredis.PubSub
			channel string
		}
		var ours []member
		for _, l := range []*channelsredis.PubSub{b.ours, second} {
			for range 3 {
				channel := newOwn(t, l)
				require.NoError(t, l.GroupAdd(ctx, "room", channel))
				ours = append(ours, member{l, channel})
			}
		}
		theirs := map[*pypeer.Layer]string{b.theirs: b.theirs.NewChannel(), python2: python2.NewChannel()}
		for l, channel := range theirs {
			l.GroupAdd("room", channel)
		}
		b.subscribed(t, b.group("room"), 4)
		const each = 50
		for n := range each {
			require.NoError(t, b.ours.GroupSend(ctx, "room", note(n)))
			require.NoError(t, second.GroupSend(ctx, "room", note(each+n)))
			b.theirs.GroupSend("room", fromPython(2*each+n))
			python2.GroupSend("room", fromPython(3*each+n))
		}
		all := 4 * each
		for _, m := range ours {
			var got []int
			for range all {
				got = append(got, int(next(t, m.l, m.channel).Int("n")))
			}
			slices.Sort(got)
			requireSeries(t, got, all)
		}
		for l, channel := range theirs {
			got, err := l.ReceiveMany(channel, all, patience)
			require.NoError(t, err)
			slices.Sort(got)
			requireSeries(t, got, all)
		}
		b.record(t, "several processes of both in one group", goToPython)
		b.record(t, "several processes of both in one group", pythonToGo)
	})
}
