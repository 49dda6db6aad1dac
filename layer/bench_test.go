package layer_test

import (
	"encoding/json"
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/channellayer/channellayer/layer"
)

func chat() map[string]any {
	return map[string]any{"type": "chat.message", "room": "general", "user": 123456, "text": "Hello, how is everyone doing today?"}
}

func BenchmarkNewMessage(b *testing.B) {
	large := map[string]any{}
	for i := range 100 {
		large["field"+strconv.Itoa(i)] = []any{i, "value", map[string]any{"k": 1.5}}
	}
	for name, fields := range map[string]map[string]any{"chat": chat(), "typed": {"type": "tags", "tags": []string{"a", "b", "c"}}, "large": large} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if m := layer.NewMessage(fields); m.Err() != nil {
					b.Fatal(m.Err())
				}
			}
		})
	}
}

func BenchmarkAccessors(b *testing.B) {
	m := layer.NewMessage(chat())
	b.ReportAllocs()
	for b.Loop() {
		if m.Type() != "chat.message" || m.Int("user") != 123456 || m.Has("absent") || m.String("text") == "" || m.Size() == 0 {
			b.Fatal("wrong")
		}
	}
}

func BenchmarkEncodedHit(b *testing.B) {
	m := layer.NewMessage(chat())
	hit := func() bool {
		frame, err := m.JSON()
		return err == nil && len(frame) > 0
	}
	b.Run("serial", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if !hit() {
				b.Fatal("no frame")
			}
		}
	})
	b.Run("parallel", func(b *testing.B) {
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if !hit() {
					b.Error("no frame")
					return
				}
			}
		})
	})
}

type frameKey struct{}

// BenchmarkJSONFrames makes the frames of 10,000 sockets from one message.
func BenchmarkJSONFrames(b *testing.B) {
	const takers = 10_000
	b.Run("shared", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			m := layer.NewMessage(chat())
			var encodings atomic.Int32
			for range takers {
				_, err := m.Encoded(frameKey{}, func() ([]byte, error) {
					encodings.Add(1)
					return m.JSON()
				})
				if err != nil {
					b.Fatal(err)
				}
			}
			if n := encodings.Load(); n != 1 {
				b.Fatalf("encoded %d times for %d takers, want once", n, takers)
			}
		}
	})
	b.Run("each", func(b *testing.B) {
		b.ReportAllocs()
		fields := chat()
		for b.Loop() {
			for range takers {
				if _, err := json.Marshal(fields); err != nil {
					b.Fatal(err)
				}
			}
		}
	})
}

func BenchmarkJSON(b *testing.B) {
	fields := chat()
	m := layer.NewMessage(fields)
	text, err := m.JSON()
	if err != nil {
		b.Fatal(err)
	}
	b.Run("write", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := layer.NewMessage(fields).JSON(); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("write/encoding-json", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := json.Marshal(fields); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("parse", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := layer.ParseJSON(text); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("parse/encoding-json", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			var into map[string]any
			if err := json.Unmarshal(text, &into); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	m := layer.NewMessage(chat())
	text, err := m.JSON()
	if err != nil {
		b.Fatal(err)
	}
	type message struct {
		Type string `json:"type"`
		Room string `json:"room"`
		User int    `json:"user"`
		Text string `json:"text"`
	}
	b.Run("message", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			var into message
			if err := m.Decode(&into); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("encoding-json", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			var into message
			if err := json.Unmarshal(text, &into); err != nil {
				b.Fatal(err)
			}
		}
	})
}
