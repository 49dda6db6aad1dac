package codec_test

import (
	"math"
	"math/rand/v2"
	"strings"

	"github.com/channellayer/channellayer/layer"
)

// random makes messages that prefer the values next to where a form ends.
type random struct{ *rand.Rand }

func newRandom(seed uint64) random { return random{rand.New(rand.NewPCG(seed, 0))} }

func (r random) message() layer.Message { return layer.NewMessage(r.fields(4)) }

func (r random) fields(depth int) map[string]any {
	m := map[string]any{}
	for range oneOf(r, 0, 1, 2, 3, 5, 15, 16, 17, 20) {
		m[r.text()] = r.value(depth - 1)
	}
	return m
}

func (r random) value(depth int) any {
	kinds := 9
	if depth <= 0 {
		kinds = 7
	}
	switch r.IntN(kinds) {
	case 0:
		return nil
	case 1:
		return r.IntN(2) == 0
	case 2:
		return oneOf(r, edges...) + int64(r.IntN(3)-1)
	case 3:
		return int64(r.Uint64())
	case 4:
		return oneOf(r, 0, math.Copysign(0, -1), 1, 1.5, math.NaN(), math.Inf(1), math.Inf(-1), math.MaxFloat64,
			math.SmallestNonzeroFloat64, math.Float64frombits(r.Uint64()))
	case 5:
		return r.text()
	case 6:
		b := make([]byte, r.length())
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		return b
	case 7:
		l := make([]any, oneOf(r, 0, 1, 2, 15, 16, 17))
		for i := range l {
			l[i] = r.value(depth - 1)
		}
		return l
	}
	return r.fields(depth)
}

// edges are the integers next to which the form changes. Those beyond which
// there is no int64 wrap.
var edges = []int64{0, -32, math.MinInt8, math.MaxInt8, math.MaxUint8, math.MinInt16, math.MaxInt16, math.MaxUint16, math.MinInt32, math.MaxInt32, math.MaxUint32, math.MinInt64, math.MaxInt64}

func (r random) text() string {
	switch r.IntN(4) {
	case 0:
		return oneOf(r, "", "type", "\x00\x1f\x7f\"\\\n'", "\u0080\u00ff", "\u2028", "\ufffd", "😀", "é")
	case 1:
		runes := make([]rune, r.IntN(5))
		for i := range runes {
			runes[i] = rune(r.IntN(0xd800))
		}
		return string(runes)
	}
	return strings.Repeat(string(rune('a'+r.IntN(26))), r.length())
}

func (r random) length() int {
	if r.IntN(200) == 0 {
		return oneOf(r, 65535, 65536)
	}
	return oneOf(r, 0, 1, 2, 3, 31, 32, 33, 255, 256, 257)
}

func oneOf[T any](r random, values ...T) T { return values[r.IntN(len(values))] }
