package layer_test

import (
	"bytes"
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/vmihailenco/msgpack/v5"
	"pgregory.net/rapid"

	"github.com/channellayer/channellayer/layer"
)

// msgpackSize asks an independent encoder.
func msgpackSize(t require.TestingT, v any) int {
	var b bytes.Buffer
	enc := msgpack.NewEncoder(&b)
	enc.UseCompactInts(true)
	require.NoError(t, enc.Encode(v))
	return b.Len()
}

func TestSizeIsThatOfMsgpack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := layer.NewMessage(fields(false).Draw(t, "fields"))
		require.NoError(t, m.Err())
		require.Equal(t, msgpackSize(t, m.Map()), m.Size(), "size of %v", m)
	})
}

func TestSizeAtEveryEdge(t *testing.T) {
	var values []any
	for _, n := range []int64{0, -32, math.MinInt8, math.MaxInt8, math.MaxUint8, math.MinInt16, math.MaxInt16, math.MaxUint16, math.MinInt32, math.MaxInt32, math.MaxUint32, math.MinInt64 + 1, math.MaxInt64 - 1} {
		values = append(values, n-1, n, n+1)
	}
	for _, n := range []int{0, 31, 255, 65535} {
		for _, n := range []int{n, n + 1} {
			values = append(values, strings.Repeat("x", n), make([]byte, n))
		}
	}
	for _, n := range []int{0, 15, 16, 65535, 65536} {
		values = append(values, make([]any, n), manyFields(n))
	}
	for _, v := range values {
		m := layer.NewMessage(map[string]any{"v": v})
		require.NoError(t, m.Err())
		require.Equal(t, msgpackSize(t, m.Map()), m.Size(), "size of a %T", v)
	}
}

func TestParsedJSONHasTheSameSize(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := layer.NewMessage(fields(true).Draw(t, "fields"))
		j, err := m.JSON()
		require.NoError(t, err)
		parsed, err := layer.ParseJSON(j)
		require.NoError(t, err)
		require.Equal(t, m.Size(), parsed.Size(), "size of %s", j)
	})
}
