package redislayer

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"math"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/layer/codec"
)

// golden are the entries of WIRE.md. Whoever changes one of them has made
// another version of the wire format.
var golden = map[string]string{
	"channel": "01 14 4141414141414141414141414141414141414141 02 ac02" +
		" 01 1f 73706563696669632e 4242424242424242424242424242424242424242 2131 07 81 a1 61 a3 6f6e65" +
		" 01 1f 73706563696669632e 4242424242424242424242424242424242424242 217a 07 81 a1 61 a3 74776f",
	"group":   "01 14 4141414141414141414141414141414141414141 02 ac02 02 04 726f6f6d 07 81 a1 61 a3 6f6e65",
	"queue":   "01 14 4141414141414141414141414141414141414141 02 ac02 03 04 6a6f6273 07 81 a1 61 a3 6f6e65",
	"request": "01 14 4141414141414141414141414141414141414141 02 ac02 04 14 4141414141414141414141414141414141414141 28 8102 01 04 726f6f6d 1f 73706563696669632e 4242424242424242424242424242424242424242 2131",
	"reply":   "01 14 4141414141414141414141414141414141414141 02 ac02 05 00 03 8102 00",
	"mark":    "01 14 4141414141414141414141414141414141414141 02 ac02 07 04 6a6f6273 01 05",
}

// goldenSealed is "group", sealed with the key 00 01 02 ... 1f on the bus "bus"
// with the nonce 00 01 ... 0b: by the Python program in WIRE.md.
const goldenSealed = "01 14 4141414141414141414141414141414141414141 02 ac02" +
	" 06 08 848f77abafb80079 2a" +
	" 000102030405060708090a0b 7d9e2ca58ae0e0fe5533fbca4c8a b090d93bf72e3abe796e36d3a562029b"

func unhex(tb testing.TB, s string) []byte {
	tb.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	require.NoError(tb, err)
	return b
}

func TestGoldenBytes(t *testing.T) {
	one := encode(t, map[string]any{"a": "one"})
	two := encode(t, map[string]any{"a": "two"})
	s := &session{l: &Layer{name: senderA}, epoch: 2}
	head := func() []byte {
		s.sequence = 299
		return s.header()
	}
	add := request{what: askAdd, group: "room", channel: "specific." + receiverB + "!1"}
	got := map[string][]byte{
		"queue":   appendFrame(head(), kindQueue, "jobs", one),
		"request": appendFrame(head(), kindRequest, senderA, add.body(257)),
		"reply":   appendFrame(head(), kindReply, "", append(binary.AppendUvarint(nil, 257), answerDone)),
		"mark":    appendFrame(head(), kindMark, "jobs", []byte{5}),
	}
	s.sequence = 299
	got["channel"] = bytes.Clone(s.entry([]*op{
		{what: opSend, where: receiverB, name: "specific." + receiverB + "!1", body: one},
		{what: opSend, where: receiverB, name: "specific." + receiverB + "!z", body: two},
	}, kindChannel))
	s.sequence = 299
	got["group"] = s.entry([]*op{{what: opGroup, where: "room", body: one}}, kindGroup)
	require.Len(t, got, len(golden))
	for name, want := range golden {
		require.Equal(t, hex.EncodeToString(unhex(t, want)), hex.EncodeToString(got[name]), "entry %q", name)
	}
}

func TestGoldenSealedBytes(t *testing.T) {
	secret := make([]byte, encryptionKeySize)
	for i := range secret {
		secret[i] = byte(i)
	}
	group := unhex(t, golden["group"])
	frames, err := openEntry(newOpener("bus", [][]byte{secret}), unhex(t, goldenSealed), "")
	require.NoError(t, err)
	require.Equal(t, group[25:], frames)
}

func TestGoldenKeys(t *testing.T) {
	k := keys{prefix: "bus"}
	require.Equal(t, []string{
		"bus:inbox:P", "bus:lease:P", "bus:group:room", "bus:queue:jobs", "bus:waiting:jobs", "pP/7", "njobs",
	}, []string{
		k.inbox("P"), k.lease("P"), k.group("room"), k.queue("jobs"), k.waiting("jobs"),
		processMember("P", "7"), normalMember("jobs"),
	})
}

func encode(tb testing.TB, fields map[string]any) []byte {
	tb.Helper()
	b, err := codec.Encode(layer.NewMessage(fields))
	require.NoError(tb, err)
	return b
}

// apart makes a layer whose server is not there.
func apart(tb testing.TB, options Options) *Layer {
	tb.Helper()
	client := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1"})
	l, err := New(client, options)
	require.NoError(tb, err)
	tb.Cleanup(func() {
		require.NoError(tb, l.Close())
		require.NoError(tb, client.Close())
	})
	return l
}

// FuzzEntry hands anybody's bytes to the reader. It must not panic nor take
// memory out of proportion, and what comes next must be delivered.
func FuzzEntry(f *testing.F) {
	for name, entry := range golden {
		control := name == "request" || name == "reply" || name == "mark"
		score := ""
		if name == "queue" {
			score = "1800000000000000"
		}
		b := unhex(f, entry)
		f.Add(b, control, score, 1)
		f.Add(b[:len(b)-1], control, score, 2)
		f.Add(bytes.Repeat([]byte{0xff}, 20), control, score, 0)
		f.Add(append(b[:25:25], append(bytes.Repeat([]byte{0xff}, 9), 1)...), control, score, 256)
	}
	secret := testKey(1)
	f.Add(newSealer(DefaultPrefix, [][]byte{secret}).seal(unhex(f, golden["group"]), ""), false, "", 1)

	long := layer.Limits{Expiry: 24 * time.Hour} // an entry without an id is as old as the layer
	open, closed := apart(f, Options{Limits: long}), apart(f, Options{Limits: long, EncryptionKeys: [][]byte{secret}})
	f.Fuzz(func(t *testing.T, entry []byte, control bool, score string, n int) {
		if len(entry) > 1<<20 {
			return
		}
		for _, l := range []*Layer{open, closed} {
			channel, err := l.NewChannel(t.Context(), "")
			require.NoError(t, err)
			before := l.Stats().Dropped
			var start, end runtime.MemStats
			runtime.ReadMemStats(&start)
			l.reader.handOver(inboxEntry{bytes: entry, messages: min(max(n, 1), maxEntryMessages), control: control, score: score})
			runtime.ReadMemStats(&end)
			// The other goroutine, which tries to connect, takes its part of it.
			if used := end.TotalAlloc - start.TotalAlloc; used > 1<<20+100*uint64(len(entry)) {
				t.Fatalf("%d bytes of memory for an entry of %d: %x", used, len(entry), entry)
			}
			if dropped := l.Stats().Dropped.Total() - before.Total(); dropped > uint64(maxEntryMessages+len(entry)) {
				t.Fatalf("%d messages counted for an entry of %d bytes: %x", dropped, len(entry), entry)
			}

			// A sender that the fuzzer cannot have raised the epoch of.
			next := appendFrame(header{"next", math.MaxUint64, 1}.append(nil), kindChannel, channel, encode(t, map[string]any{"a": "next"}))
			l.reader.handOver(inboxEntry{bytes: newSealer(DefaultPrefix, l.options.EncryptionKeys).seal(next, ""), messages: 1})
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			msg, err := l.Receive(ctx, channel)
			cancel()
			require.NoError(t, err, "nothing came after %x", entry)
			require.Equal(t, "next", msg.String("a"))
			require.NoError(t, l.Release(t.Context(), channel))
		}
	})
}
