package layer_test

import (
	"math"

	"pgregory.net/rapid"

	"github.com/channellayer/channellayer/layer"
)

// fields generates what NewMessage takes and Map gives back unchanged.
// finite leaves out what JSON cannot write.
func fields(finite bool) *rapid.Generator[map[string]any] {
	return rapid.Custom(func(t *rapid.T) map[string]any {
		return mapOf(t, 3, finite)
	})
}

func mapOf(t *rapid.T, depth int, finite bool) map[string]any {
	m := map[string]any{}
	for range rapid.SampledFrom([]int{0, 1, 2, 3, 4, 15, 16, 17}).Draw(t, "keys") {
		if key := text().Draw(t, "key"); key != layer.ReservedKey {
			m[key] = valueOf(t, depth-1, finite)
		}
		if len(m) > 3 && depth < 3 {
			break // small inside, so that runs stay short
		}
	}
	return m
}

func valueOf(t *rapid.T, depth int, finite bool) any {
	kinds := 7
	if depth <= 0 {
		kinds = 5
	}
	switch rapid.IntRange(0, kinds).Draw(t, "kind") {
	case 0:
		return nil
	case 1:
		return rapid.Bool().Draw(t, "bool")
	case 2:
		return integer().Draw(t, "int")
	case 3:
		f := rapid.Float64().Draw(t, "float")
		if finite && (math.IsNaN(f) || math.IsInf(f, 0)) {
			f = 1
		}
		return f
	case 4:
		return text().Draw(t, "text")
	case 5:
		if finite {
			return "in place of bytes, which JSON has not"
		}
		n := rapid.SampledFrom([]int{0, 1, 31, 32, 255, 256, 65535, 65536}).Draw(t, "bytes")
		return make([]byte, n)
	case 6:
		list := make([]any, rapid.SampledFrom([]int{0, 1, 15, 16}).Draw(t, "elements"))
		for i := range list {
			list[i] = valueOf(t, depth-1, finite)
		}
		return list
	}
	return mapOf(t, depth, finite)
}

// integer prefers those next to where the encoding becomes longer.
func integer() *rapid.Generator[int64] {
	var edges []int64
	for _, e := range []int64{0, -32, math.MinInt8, math.MaxInt8, math.MaxUint8, math.MinInt16, math.MaxInt16, math.MaxUint16, math.MinInt32, math.MaxInt32, math.MaxUint32} {
		edges = append(edges, e-1, e, e+1)
	}
	edges = append(edges, math.MinInt64, math.MaxInt64)
	return rapid.OneOf(rapid.SampledFrom(edges), rapid.Int64())
}

func text() *rapid.Generator[string] {
	return rapid.OneOf(
		rapid.String(),
		rapid.StringN(30, 34, -1),
		rapid.StringN(250, 258, -1),
		rapid.SampledFrom([]string{"", "type", "<script>&amp;", "\u2028\u2029\x00\x1f\x7f\"\\\n", "\ufffd", "😀"}),
	)
}
