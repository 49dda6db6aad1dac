package channelsredis_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/channellayer/channellayer/internal/pypeer"
	"github.com/channellayer/channellayer/internal/redistest"
	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/redislayer/channelsredis"
)

// coreBus is a bus with a Core and a Python layer on it.
type coreBus struct {
	option string
	urls   []string
	server *redistest.Server // the first host
	python *pypeer.Process
	go1    *channelsredis.Core
	theirs *pypeer.Layer
	config pypeer.Options // Python's, and Go's to the same effect
}

var someKeys = []string{"a key", "an older key"}

// overCore runs a test for each set of options that this channels_redis has. It
// returns before they have run.
func overCore(t *testing.T, base pypeer.Options, test func(t *testing.T, b *coreBus)) {
	pypeer.Need(t)
	type option struct {
		name   string
		hosts  int
		change func(*pypeer.Options)
	}
	options := []option{
		{plain, 1, func(*pypeer.Options) {}},
		{encrypted, 1, func(o *pypeer.Options) { o.Keys = someKeys }},
		{twoHosts, 2, func(*pypeer.Options) {}},
		{otherPrefix, 1, func(o *pypeer.Options) { o.Prefix = "site.42:" }},
	}
	if pypeer.HasSerializers() {
		options = append(options,
			option{asJSON, 1, func(o *pypeer.Options) { o.SerializerFormat = "json" }},
			option{encryptedJSON, 1, func(o *pypeer.Options) { o.SerializerFormat, o.Keys = "json", someKeys }},
			option{noRandom, 1, func(o *pypeer.Options) { o.NoRandomPrefix = true }})
	}
	for _, option := range options {
		t.Run(option.name, func(t *testing.T) {
			t.Parallel() // each has servers of its own, and waits a lot
			b := &coreBus{option: option.name, config: base}
			option.change(&b.config)
			for range option.hosts {
				server := redistest.Start(t, redistest.Config{})
				if b.server == nil {
					b.server = server
				}
				b.urls = append(b.urls, server.URL())
			}
			b.config.Hosts = b.urls
			b.python = pypeer.Start(t)
			b.theirs = b.python.Core(b.config)
			b.go1 = b.open(t, channelsredis.Options{})
			test(t, b)
		})
	}
}

// open makes one more Core on the bus.
func (b *coreBus) open(t *testing.T, o channelsredis.Options) *channelsredis.Core {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	o.Prefix, o.Expiry, o.GroupExpiry = b.config.Prefix, b.config.Expiry, b.config.GroupExpiry
	o.Capacity, o.SymmetricEncryptionKeys = b.config.Capacity, b.config.Keys
	o.SerializerFormat = formatOf(b.config)
	if b.config.NoRandomPrefix {
		o.RandomPrefixLength = channelsredis.NoRandomPrefix
	}
	c, err := channelsredis.OpenCore(ctx, b.urls, o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	return c
}

func (b *coreBus) record(t *testing.T, operation, direction string) {
	t.Helper()
	record(t, "Core", operation, direction, b.option)
}

// formatOf is Python's serializer_format here.
func formatOf(o pypeer.Options) channelsredis.Serializer {
	if o.SerializerFormat == "json" {
		return channelsredis.JSON{}
	}
	return nil
}

func note(n int) layer.Message {
	return layer.NewMessage(map[string]any{"type": "test.note", "n": n})
}

func newOwn(t *testing.T, l layer.Layer) string {
	t.Helper()
	channel, err := l.NewChannel(t.Context(), "")
	require.NoError(t, err)
	return channel
}

// next receives one message within a time that only a fault needs.
func next(t *testing.T, l layer.Layer, channel string) layer.Message {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	msg, err := l.Receive(ctx, channel)
	require.NoError(t, err, "receive on %s", channel)
	return msg
}

// silent checks that nothing comes for a while.
func silent(t *testing.T, l layer.Layer, channel string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	msg, err := l.Receive(ctx, channel)
	require.ErrorIs(t, err, context.DeadlineExceeded, "got %v", msg)
}

const patience = 10 * time.Second

func TestInteropCoreSend(t *testing.T) {
	overCore(t, pypeer.Options{}, func(t *testing.T, b *coreBus) {
		ctx := t.Context()
		ours := newOwn(t, b.go1)
		t.Run("specific to Python", func(t *testing.T) {
			b.record(t, "send to a process-specific channel", goToPython)
			for range 8 { // names that belong to both hosts
				theirs := b.theirs.NewChannel()
				for n := range 8 {
					require.NoError(t, b.go1.Send(ctx, theirs, note(n)))
				}
				for n := range 8 {
					require.Equal(t, map[string]any{"type": "test.note", "n": int64(n)}, b.theirs.Receive(theirs, patience))
				}
			}
		})
		t.Run("specific to Go", func(t *testing.T) {
			b.record(t, "send to a process-specific channel", pythonToGo)
			for range 8 { // names that belong to both hosts
				for n := range 8 {
					b.theirs.Send(ours, map[string]any{"type": "test.note", "n": n})
				}
				for n := range 8 {
					require.True(t, note(n).Equal(next(t, b.go1, ours)), "message %d", n)
				}
				ours = newOwn(t, b.go1)
			}
		})
		t.Run("normal to Python", func(t *testing.T) {
			b.record(t, "send to a normal channel", goToPython)
			seen := map[int64]int{}
			for n := range 40 {
				require.NoError(t, b.go1.Send(ctx, "for-python", note(n)))
				seen[b.theirs.Receive("for-python", patience)["n"].(int64)]++
			}
			require.Len(t, seen, 40)
		})
		t.Run("normal to Go", func(t *testing.T) {
			b.record(t, "send to a normal channel", pythonToGo)
			for n := range 40 {
				b.theirs.Send("for-go", map[string]any{"type": "test.note", "n": n})
			}
			seen := map[int64]int{}
			for range 40 {
				seen[next(t, b.go1, "for-go").Int("n")]++
			}
			require.Len(t, seen, 40, "messages on every host are found")
		})
		t.Run("new prefix", func(t *testing.T) {
			b.record(t, "NewChannel with a prefix of its own", pythonToGo)
			channel, err := b.go1.NewChannel(ctx, "chat")
			require.NoError(t, err)
			b.theirs.Send(channel, map[string]any{"type": "test.note", "n": 7})
			require.Equal(t, int64(7), next(t, b.go1, channel).Int("n"))
		})
	})
}

func TestInteropCoreValues(t *testing.T) {
	overCore(t, pypeer.Options{}, func(t *testing.T, b *coreBus) {
		fields := map[string]any{
			"type": "test.values", "none": nil, "yes": true, "least": int64(-1 << 63), "most": int64(1<<63 - 1), "float": 0.1,
			"text": "h\u00e9 \U0001F600", "bytes": []byte{0, 255}, "list": []any{int64(1), []any{}, map[string]any{}},
			"map": map[string]any{"": nil, "deep": []any{map[string]any{"x": 1.5}}}, "large": strings.Repeat("x", 1_000_000),
		}
		if b.config.SerializerFormat == "json" {
			delete(fields, "bytes") // which JSON has not
		}
		ours, theirs := newOwn(t, b.go1), b.theirs.NewChannel()
		t.Run("to Python", func(t *testing.T) {
			b.record(t, "values of every type, 1 MB", goToPython)
			require.NoError(t, b.go1.Send(t.Context(), theirs, layer.NewMessage(fields)))
			require.Equal(t, fields, b.theirs.Receive(theirs, patience))
		})
		t.Run("to Go", func(t *testing.T) {
			b.record(t, "values of every type, 1 MB", pythonToGo)
			b.theirs.Send(ours, fields)
			require.Equal(t, fields, next(t, b.go1, ours).Map())
		})
	})
}

func TestInteropCoreUntyped(t *testing.T) {
	server := redistest.Start(t, redistest.Config{})
	c, err := channelsredis.OpenCore(t.Context(), []string{server.URL()}, channelsredis.Options{})
	require.NoError(t, err)
	defer c.Close()
	for _, fields := range []map[string]any{{}, {"text": "x"}, {"type": 1}, {"type": ""}} {
		for what, err := range map[string]error{
			"Send":      c.Send(t.Context(), "jobs", layer.NewMessage(fields)),
			"GroupSend": c.GroupSend(t.Context(), "g", layer.NewMessage(fields)),
		} {
			require.ErrorIs(t, err, layer.ErrInvalidMessage, "%s of %v", what, fields)
			require.ErrorIs(t, err, layer.ErrNotSent, "%s of %v", what, fields)
		}
	}
	require.NoError(t, c.Send(t.Context(), "jobs", layer.NewMessage(map[string]any{"type": "x"})))
}
