package bench

import "testing"

// What encoding one JSON frame costs that 10,000 sockets write, against a
// frame for each.
func BenchmarkFrames(b *testing.B) {
	const sockets = 10_000
	b.Run("frame=shared", func(b *testing.B) {
		encodings := 0
		for b.Loop() {
			msg := chatMessage()
			for range sockets {
				_, err := msg.Encoded(frameKey{}, func() ([]byte, error) {
					encodings++
					return msg.JSON()
				})
				must(err)
			}
		}
		if encodings != b.N {
			b.Fatalf("%d messages were encoded %d times", b.N, encodings)
		}
	})
	b.Run("frame=each", func(b *testing.B) {
		for b.Loop() {
			for range sockets {
				_, err := chatMessage().JSON()
				must(err)
			}
		}
	})
}

type frameKey struct{}
