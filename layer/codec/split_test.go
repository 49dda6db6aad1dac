package codec_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/layer/codec"
)

// The two parts say what the whole says.
func TestSplitAddressed(t *testing.T) {
	for _, fields := range []int{0, 1, 14, 15, 16, 17} {
		for _, channels := range [][]string{{}, {"a!b"}, {"a!b", "a!c"}, strings.Split(strings.Repeat("specific.a!b ", 1000)+"x", " ")} {
			what := fmt.Sprintf("%d fields for %d channels", fields, len(channels))
			m := map[string]any{}
			for i := range fields {
				m[string(rune('B'+i))] = []any{i, "text", map[string]any{layer.ReservedKey: "inside"}}
			}
			msg := layer.NewMessage(m)
			wire, err := codec.AppendAddressed(nil, msg, channels...)
			require.NoError(t, err, what)
			message, address, ok := codec.SplitAddressed(string(wire))
			require.True(t, ok, what)
			plain, err := codec.Encode(msg)
			require.NoError(t, err, what)
			require.Equal(t, plain, message, what)
			got, err := codec.DecodeAddress(address)
			require.NoError(t, err, what)
			require.Equal(t, channels, got, what)
		}
	}
}

func TestSplitAddressedRefuses(t *testing.T) {
	const key = "\xb0" + layer.ReservedKey
	for name, wire := range map[string]string{
		"nothing":               "",
		"no map":                "\x91" + key,
		"an empty map":          "\x80",
		"no address":            "\x81\xa1a\x01",
		"another key last":      "\x82" + key + "\xa1x\xa1a\x01",
		"the key twice":         "\x83" + key + "\xa1x\xa1a\x01" + key + "\x91\xa1y",
		"the key inside":        "\x81\xa1a\x81" + key + "\xa1x",
		"a value that is wrong": "\x82\xa1a\xc1" + key + "\xa1x",
		"ends early":            "\x82\xa1a\x01" + key[:5],
	} {
		_, _, ok := codec.SplitAddressed(wire)
		require.False(t, ok, name)
	}
	for name, address := range map[string]string{
		"nothing":           "",
		"a number":          "\x01",
		"a map":             "\x81\xa1a\xa1b",
		"an array with nil": "\x92\xa1x\xc0",
		"something after":   "\x91\xa1x\x00",
		"ends early":        "\x92\xa1x",
		"no UTF-8":          "\x91\xa1\xff",
	} {
		_, err := codec.DecodeAddress(address)
		require.ErrorIs(t, err, layer.ErrInvalidMessage, name)
	}
}

// The channels do not count as values of the message, and have a bound of their
// own.
func TestAddressOfManyChannels(t *testing.T) {
	values := layer.NewMessage(map[string]any{"v": make([]any, layer.MaxValues-1)})
	for _, count := range []int{layer.MaxValues, codec.MaxChannels, codec.MaxChannels + 1} {
		channels := slices.Repeat([]string{"a!b"}, count)
		wire, err := codec.AppendAddressed(nil, values, channels...)
		require.NoError(t, err)
		msg, got, err := codec.DecodeAddressed(wire)
		_, address, ok := codec.SplitAddressed(string(wire))
		require.True(t, ok)
		gotAlone, errAlone := codec.DecodeAddress(address)
		if count > codec.MaxChannels {
			require.ErrorContains(t, err, "more than 1048576 values")
			require.ErrorContains(t, errAlone, "more than 1048576 values")
			continue
		}
		require.NoError(t, err)
		require.NoError(t, errAlone)
		require.True(t, values.Equal(msg))
		require.Equal(t, values.Size(), msg.Size())
		require.Len(t, got, count)
		require.Len(t, gotAlone, count)
	}
}

// Whatever the bytes are, the parts never say anything else than the whole.
func TestSplitAddressedAgrees(t *testing.T) {
	const key = "\xb0" + layer.ReservedKey
	piece := rapid.SampledFrom([]string{key, "\x80", "\x81", "\x82", "\x83", "\x90", "\x92", "\xa1x", "\xa1a", "\x01", "\xc0", "\xc1", "\xa1\xff", "\xc4\x10" + layer.ReservedKey})
	rapid.Check(t, func(t *rapid.T) {
		wire := rapid.SampledFrom([]string{"\x81", "\x82", "\x83"}).Draw(t, "head") + strings.Join(rapid.SliceOfN(piece, 0, 8).Draw(t, "pieces"), "")
		message, address, ok := codec.SplitAddressed(wire)
		if !ok {
			return
		}
		msg, err1 := codec.Decode(message)
		channels, err2 := codec.DecodeAddress(address)
		if err1 != nil || err2 != nil {
			return
		}
		want, wantChannels, err := codec.DecodeAddressed([]byte(wire))
		require.NoError(t, err, "%q", wire)
		require.True(t, want.Equal(msg), "%q: %v, expected %v", wire, msg, want)
		require.Equal(t, want.Size(), msg.Size(), "%q", wire)
		require.Equal(t, wantChannels, channels, "%q", wire)
	})
}
