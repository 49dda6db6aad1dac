package codec_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/vmihailenco/msgpack/v5"

	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/layer/codec"
)

// samples are messages of typical sizes, and what they are made of.
func samples() map[string]map[string]any {
	list := make([]any, 0, 10_000)
	for i := range 10_000 {
		list = append(list, map[string]any{"id": i, "name": fmt.Sprintf("user-%05d", i), "text": strings.Repeat("x", 74)})
	}
	return map[string]map[string]any{
		"173B":                {"type": "chat.message", "room": "lobby", "user": "alice", "seq": 123456, "text": strings.Repeat("h", 114)},
		"1KB":                 {"type": "chat.message", "room": "lobby", "user": map[string]any{"id": 7, "name": "alice"}, "tags": []any{"a", "b", 3}, "body": make([]byte, 400), "text": strings.Repeat("h", 525)},
		"1MB":                 {"type": "state", "text": strings.Repeat("h", 1_000_000-16)},
		"1MB of 30000 values": {"type": "state", "users": list},
	}
}

func forSamples(b *testing.B, run func(b *testing.B, fields map[string]any, msg layer.Message)) {
	for _, name := range []string{"173B", "1KB", "1MB", "1MB of 30000 values"} {
		b.Run(name, func(b *testing.B) {
			fields := samples()[name]
			msg := layer.NewMessage(fields)
			require.NoError(b, msg.Err())
			b.SetBytes(int64(msg.Size()))
			b.ReportAllocs()
			run(b, fields, msg)
		})
	}
}

func encoded(b *testing.B, msg layer.Message) []byte {
	wire, err := codec.Encode(msg)
	require.NoError(b, err)
	return wire
}

func BenchmarkAppend(b *testing.B) {
	forSamples(b, func(b *testing.B, _ map[string]any, msg layer.Message) {
		var buf []byte
		for b.Loop() {
			buf, _ = codec.Append(buf[:0], msg)
		}
	})
}

func BenchmarkAppendPeer(b *testing.B) {
	forSamples(b, func(b *testing.B, fields map[string]any, _ layer.Message) {
		for b.Loop() {
			_, _ = msgpack.Marshal(fields)
		}
	})
}

func BenchmarkCheck(b *testing.B) {
	forSamples(b, func(b *testing.B, _ map[string]any, msg layer.Message) {
		wire := encoded(b, msg)
		for b.Loop() {
			_, _ = codec.Check(wire)
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	forSamples(b, func(b *testing.B, _ map[string]any, msg layer.Message) {
		wire := encoded(b, msg)
		for b.Loop() {
			_, _ = codec.Decode(wire)
		}
	})
}

func BenchmarkDecodeAndRead(b *testing.B) {
	forSamples(b, func(b *testing.B, _ map[string]any, msg layer.Message) {
		wire := encoded(b, msg)
		for b.Loop() {
			m, _ := codec.Decode(wire)
			_ = m.Type()
		}
	})
}

func BenchmarkDecodeAndReadPeer(b *testing.B) {
	forSamples(b, func(b *testing.B, _ map[string]any, msg layer.Message) {
		wire := encoded(b, msg)
		for b.Loop() {
			var m map[string]any
			_ = msgpack.Unmarshal(wire, &m)
			_, _ = m["type"].(string)
		}
	})
}
