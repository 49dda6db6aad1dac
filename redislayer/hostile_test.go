package redislayer_test

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/channellayer/channellayer/internal/redistest"
	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/redislayer"
)

func key(fill byte) []byte { return bytes.Repeat([]byte{fill}, 32) }

func newChannel(tb testing.TB, l layer.Layer) string {
	tb.Helper()
	channel, err := l.NewChannel(tb.Context(), "")
	require.NoError(tb, err)
	return channel
}

// inboxOf is the key of the inbox of the process that owns the channel.
func inboxOf(channel string) string {
	client, _, _ := strings.Cut(channel, "!")
	return redislayer.DefaultPrefix + ":inbox:" + client[strings.LastIndexByte(client, '.')+1:]
}

func undecodable(l *redislayer.Layer) int { return int(l.Stats().Dropped[layer.DropUndecodable]) }

func TestEncryptedBus(t *testing.T) {
	server := redistest.Start(t, redistest.Config{})
	ctx := t.Context()
	observed := make(chan int, 100)
	with := func(keys ...[]byte) redislayer.Options {
		return redislayer.Options{EncryptionKeys: keys, Observer: layer.Observer{
			Dropped: func(reason layer.DropReason, name string, count int) {
				if reason == layer.DropUndecodable {
					observed <- count
				}
			},
		}}
	}
	// As in the middle of a change of keys: the old one encrypts here, the new
	// one there, and both decrypt both.
	older, newer := open(t, server.URL(), with(key(1), key(2))), open(t, server.URL(), with(key(2), key(1)))
	plain, wrong := open(t, server.URL(), with()), open(t, server.URL(), with(key(3)))

	// Everything works between those that have each other's keys.
	a, b := newChannel(t, older), newChannel(t, newer)
	require.NoError(t, older.Send(ctx, b, text("to the newer")))
	require.Equal(t, "to the newer", receive(t, newer, b).String("text"))
	require.NoError(t, newer.Send(ctx, a, text("to the older")))
	require.Equal(t, "to the older", receive(t, older, a).String("text"))
	require.NoError(t, newer.GroupAdd(ctx, "room", a), "by a request to the other process")
	require.NoError(t, newer.GroupAdd(ctx, "room", b))
	require.NoError(t, newer.GroupSend(ctx, "room", text("to both")))
	require.Equal(t, "to both", receive(t, older, a).String("text"))
	require.Equal(t, "to both", receive(t, newer, b).String("text"))
	require.NoError(t, newer.Send(ctx, "jobs", text("a job")))
	require.Equal(t, "a job", receive(t, older, "jobs").String("text"))
	require.Zero(t, undecodable(older)+undecodable(newer))

	// Between others nothing does, and nothing else is disturbed.
	for name, from := range map[string]*redislayer.Layer{"not encrypted": plain, "with another key": wrong} {
		before := undecodable(newer)
		require.NoError(t, from.Send(ctx, b, text(name)))
		require.Equal(t, 1, <-observed, name)
		require.NoError(t, from.GroupSend(ctx, "room", text(name)))
		require.Equal(t, 2, <-observed+<-observed, name)
		require.Equal(t, before+2, undecodable(newer), name)

		got := make(chan string, 1)
		go func() {
			ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
			defer cancel()
			msg, err := newer.Receive(ctx, "jobs")
			got <- fmt.Sprint(msg.String("text"), err)
		}()
		require.NoError(t, from.Send(ctx, "jobs", text(name)))
		require.Equal(t, 1, <-observed, name)
		require.NoError(t, older.Send(ctx, "jobs", text("the next job")))
		require.Equal(t, "the next job<nil>", <-got, "after one %s", name)

		require.NoError(t, older.Send(ctx, b, text("goes on")))
		require.Equal(t, "goes on", receive(t, newer, b).String("text"), name)
	}
	to := newChannel(t, plain)
	require.NoError(t, newer.Send(ctx, to, text("encrypted")))
	require.Equal(t, 1, <-observed)
	require.Equal(t, 1, undecodable(plain))
}

// outsider is a process that the test plays: it has an inbox, and nobody reads
// it.
type outsider struct {
	tb     testing.TB
	client *redis.Client
	name   string
}

func newOutsider(tb testing.TB, server *redistest.Server, name string) outsider {
	tb.Helper()
	o := outsider{tb, server.Client(tb), name}
	require.NoError(tb, o.client.HSet(tb.Context(), o.key("lease"), "i", 1, "n", 0, "b", 0, "rn", 0, "rb", 0).Err())
	id, err := o.client.XAdd(tb.Context(), &redis.XAddArgs{Stream: o.key("inbox"), Values: []string{"e", ""}}).Result()
	require.NoError(tb, err)
	require.NoError(tb, o.client.XDel(tb.Context(), o.key("inbox"), id).Err())
	return o
}

func (o outsider) key(kind string) string {
	return redislayer.DefaultPrefix + ":" + kind + ":" + o.name
}

func (o outsider) channel() string { return "specific." + o.name + "!1" }

func (o outsider) join(group string) {
	o.tb.Helper()
	key := redislayer.DefaultPrefix + ":group:" + group
	require.NoError(o.tb, o.client.ZAdd(o.tb.Context(), key, redis.Z{Member: "p" + o.name + "/1"}).Err())
}

// take takes the one entry that is in its inbox.
func (o outsider) take() map[string]any {
	o.tb.Helper()
	entries, err := o.client.XRange(o.tb.Context(), o.key("inbox"), "-", "+").Result()
	require.NoError(o.tb, err)
	require.Len(o.tb, entries, 1, "entries in the inbox of %s", o.name)
	require.NoError(o.tb, o.client.XDel(o.tb.Context(), o.key("inbox"), entries[0].ID).Err())
	return entries[0].Values
}

// put puts an entry into the inbox of the process that owns the channel.
func (o outsider) put(channel string, values ...any) {
	o.tb.Helper()
	require.NoError(o.tb, o.client.XAdd(o.tb.Context(), &redis.XAddArgs{Stream: inboxOf(channel), Values: values}).Err())
}

// What is read at Redis gives nothing away, and does nothing elsewhere.
func TestEncryptedEntries(t *testing.T) {
	server := redistest.Start(t, redistest.Config{})
	ctx := t.Context()
	options := redislayer.Options{EncryptionKeys: [][]byte{key(1)}}
	a, b := open(t, server.URL(), options), open(t, server.URL(), options)
	channel := newChannel(t, b)
	o := newOutsider(t, server, "OUTSIDER")
	o.join("room")

	require.NoError(t, a.Send(ctx, o.channel(), text("secret")))
	sent := o.take()["e"].(string)
	require.NoError(t, a.GroupSend(ctx, "room", text("secret")))
	grouped := o.take()["e"].(string)
	require.ErrorIs(t, a.GroupAdd(expired(t), "secret", o.channel()), context.DeadlineExceeded)
	asked := o.take()["c"].(string)
	require.NoError(t, a.Send(ctx, "jobs", text("secret")))
	queued, err := o.client.ZRange(ctx, redislayer.DefaultPrefix+":queue:jobs", 0, -1).Result()
	require.NoError(t, err)
	for _, entry := range append(queued, sent, grouped, asked) {
		for _, secret := range []string{"secret", "room", "jobs", o.channel()} {
			require.NotContains(t, entry, secret, "readable at Redis")
		}
	}

	require.NoError(t, b.GroupAdd(ctx, "elsewhere", channel))
	o.put(channel, "e", sent)    // for a channel that b does not have
	o.put(channel, "e", grouped) // for a group in which b has no members
	o.put(channel, "e", asked)   // a control entry is none here
	o.put(channel, "c", asked)   // nor is it for this process
	o.put(channel, "c", sent)    // a message is no control entry
	o.put(channel, "e", sent[:len(sent)-1])
	require.NoError(t, a.Send(ctx, channel, text("next")))
	require.Equal(t, "next", receive(t, b, channel).String("text"))
	require.EqualValues(t, 1, b.Stats().Dropped[layer.DropClosed], "for a channel that is not there")
	require.Equal(t, 4, undecodable(b))

	// The queue's entry, put into another queue, is not delivered from there.
	other := redislayer.DefaultPrefix + ":queue:other"
	require.NoError(t, o.client.ZAdd(ctx, other, redis.Z{Score: float64(time.Now().UnixMicro()), Member: queued[0]}).Err())
	misled, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	msg, err := b.Receive(misled, "other")
	require.ErrorIs(t, err, context.DeadlineExceeded, "got %v", msg)
}

// expired is a ctx that ends after what it is used for has been sent.
func expired(tb testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(tb.Context(), 200*time.Millisecond)
	tb.Cleanup(cancel)
	return ctx
}

// Entries that cannot be read are counted by what their senders counted, and
// disturb nothing that comes after them, nor what is beside them in the entry.
func TestHostileEntries(t *testing.T) {
	server := redistest.Start(t, redistest.Config{})
	ctx := t.Context()
	a, b := open(t, server.URL(), redislayer.Options{}), open(t, server.URL(), redislayer.Options{})
	channel := newChannel(t, b)
	require.NoError(t, b.GroupAdd(ctx, "room", channel))
	o := newOutsider(t, server, "OUTSIDER")
	require.NoError(t, a.Send(ctx, o.channel(), text("x")))
	genuine := o.take()["e"].(string)
	body := "\x81\xa4text\xa4good"
	head := "\x01\x08OUTSIDER\x00\x01"
	frame := func(kind byte, name, body string) string {
		return string([]byte{kind, byte(len(name))}) + name + string([]byte{byte(len(body))}) + body
	}
	good := frame(1, channel, body)

	for name, test := range map[string]struct {
		entry []any
		want  int // counted as undecodable
		good  int // delivered all the same
	}{
		"garbage":                    {[]any{"e", "\xff\xfe"}, 1, 0},
		"garbage of several":         {[]any{"e", "\xff\xfe", "n", 7}, 7, 0},
		"garbage of very many":       {[]any{"e", "\xff\xfe", "n", "99999999999"}, 256, 0},
		"garbage of less than none":  {[]any{"e", "\xff\xfe", "n", "-7"}, 1, 0},
		"garbage from a queue":       {[]any{"e", "\xff", "s", "1"}, 1, 0},
		"a later version":            {[]any{"e", "\x02" + genuine[1:], "n", 3}, 3, 0},
		"an unknown kind":            {[]any{"e", head + frame(9, "x", "y") + good, "n", 2}, 1, 1},
		"a kind out of place":        {[]any{"e", head + good + frame(4, "x", "y") + good, "n", 3}, 1, 2},
		"a message as control":       {[]any{"c", head + good}, 1, 0},
		"a queue's frame elsewhere":  {[]any{"e", head + frame(3, "jobs", body) + good, "n", 2}, 1, 1},
		"a bad message among others": {[]any{"e", head + good + frame(1, channel, "\xc1") + good, "n", 3}, 1, 2},
		"a bad name among others":    {[]any{"e", head + frame(2, "no name", body) + good, "n", 2}, 1, 1},
		"cut short":                  {[]any{"e", head + good + good[:len(good)-1], "n", 5}, 4, 1},
		"a length without end":       {[]any{"e", head + "\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", "n", 2}, 2, 0},
		"a huge length":              {[]any{"e", head + "\x01\xff\xff\xff\xff\xff\xff\xff\xff\x7f"}, 1, 0},
		"a sender of many bytes":     {[]any{"e", "\x01\xc8\x01" + strings.Repeat("x", 200) + "\x00\x01"}, 1, 0},
		"a request cut short":        {[]any{"c", head + frame(4, "OUTSIDER", "\x01")}, 1, 0},
		"a reply cut short":          {[]any{"c", head + frame(5, "", "\x01")}, 1, 0},
		"no known field":             {[]any{"z", genuine}, 0, 0},
		"sealed, without keys":       {[]any{"e", head + frame(6, "12345678", strings.Repeat("x", 50)), "n", 4}, 4, 0},
	} {
		before := undecodable(b)
		o.put(channel, test.entry...)
		require.NoError(t, a.Send(ctx, channel, text("next")), name)
		for range test.good {
			require.Equal(t, "good", receive(t, b, channel).String("text"), "%s: %q", name, test.entry)
		}
		require.Equal(t, "next", receive(t, b, channel).String("text"), "%s: %q", name, test.entry)
		require.Equal(t, test.want, undecodable(b)-before, "counted as undecodable: %s: %q", name, test.entry)
	}
}
