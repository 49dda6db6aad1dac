package channelsredis

import (
	"bytes"
	"encoding/hex"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/channellayer/channellayer/layer"
)

// What the real Python layers wrote with these: a client prefix and a random
// prefix.
const (
	goldenClient = "specific.0123456789abcdef0123456789abcdef!"
	goldenRandom = "\xa0\xa1\xa2\xa3\xa4\xa5\xa6\xa7\xa8\xa9\xaa\xab"
)

var (
	goldenA = goldenClient + strings.Repeat("a", 32)
	goldenB = goldenClient + strings.Repeat("b", 32)
)

// TestGolden reads what Python wrote, and writes it again: the same bytes, but
// for the order of the keys, which Python does not sort.
func TestGolden(t *testing.T) {
	small := map[string]any{"type": "chat.message", "text": "hi"}
	accent := map[string]any{"type": "chat.message", "text": "hé"}
	type vector struct {
		random  string
		format  Serializer
		fields  map[string]any
		address any
	}
	vectors := map[string]vector{
		"core normal small":                {random: goldenRandom, fields: small},
		"core specific":                    {random: goldenRandom, fields: small, address: goldenA},
		"core group_send 2 specific":       {random: goldenRandom, fields: small, address: []string{goldenA, goldenB}},
		"core group_send normal":           {random: goldenRandom, fields: small, address: []string{"jobs"}},
		"pubsub send asgispecific.aaaa":    {fields: small},
		"pubsub group_send":                {fields: small},
		"core specific json":               {random: goldenRandom, format: JSON{}, fields: accent, address: goldenA},
		"core json random_prefix_length 0": {format: JSON{}, fields: small},
		"pubsub json":                      {format: JSON{}, fields: small},
	}
	lines := goldenLines(t)
	for name, v := range vectors {
		t.Run(name, func(t *testing.T) {
			wire := lines[name]
			require.NotEmpty(t, wire)
			format := v.format
			if format == nil {
				format = MsgPack{}
			}
			body, ok := strings.CutPrefix(wire, v.random)
			require.True(t, ok, "%x does not begin with %x", wire, v.random)
			msg, address, err := format.Decode([]byte(body))
			require.NoError(t, err)
			require.Equal(t, v.fields, msg.Map())
			again, err := format.Append([]byte("kept"), msg, v.address)
			require.NoError(t, err)
			again, ok = bytes.CutPrefix(again, []byte("kept"))
			require.True(t, ok)
			switch want := v.address.(type) {
			case nil:
				require.Nil(t, address)
			case string:
				require.Equal(t, []string{want}, address)
			case []string:
				require.Equal(t, want, address)
			}
			require.Equal(t, sortedKeys(body), string(again))
		})
	}
}

// sortedKeys moves the type, which Python's program put first, to where it
// stands in order: after the text.
func sortedKeys(body string) string {
	for _, form := range [][2]string{
		{"\xa4type\xacchat.message", "\xa4text\xa2hi"},
		{`"type": "chat.message", `, `"text": "hi", `},
		{`"type": "chat.message", `, `"text": "h\u00e9", `},
		{`"type": "chat.message", `, `"text": "hi"`},
	} {
		if before, after, ok := strings.Cut(body, form[0]+form[1]); ok {
			if !strings.HasSuffix(form[1], ", ") && strings.HasSuffix(form[0], ", ") {
				return before + form[1] + ", " + strings.TrimSuffix(form[0], ", ") + after
			}
			return before + form[1] + form[0] + after
		}
	}
	return body
}

// What holds every type holds 2^63 too, which no message may: with one less,
// all of it is read.
func TestGoldenAllTypes(t *testing.T) {
	want := map[string]any{
		"type": "chat.message", "text": "hé", "n": int64(1), "neg": int64(-1), "big": int64(1<<63 - 1), "f": 1.5,
		"ok": true, "none": nil, "l": []any{int64(1), int64(300)},
	}
	for name, v := range map[string]struct {
		format    Serializer
		over, max string
	}{
		"core json all":         {JSON{}, "9223372036854775808", "9223372036854775807"},
		"core normal all types": {MsgPack{}, "\xcf\x80\x00\x00\x00\x00\x00\x00\x00", "\xcf\x7f\xff\xff\xff\xff\xff\xff\xff"},
	} {
		body := strings.TrimPrefix(goldenLines(t)[name], goldenRandom)
		_, _, err := v.format.Decode([]byte(body))
		require.ErrorIs(t, err, layer.ErrInvalidMessage, name)
		require.ErrorContains(t, err, "9223372036854775808 is outside int64", name)

		msg, _, err := v.format.Decode([]byte(strings.Replace(body, v.over, v.max, 1)))
		require.NoError(t, err, name)
		if v.format == (MsgPack{}) {
			want["b"] = []byte{0, 255}
		} else {
			delete(want, "b")
		}
		require.Equal(t, want, msg.Map(), name)
	}
}

func goldenLines(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile("testdata/golden.txt")
	require.NoError(t, err)
	lines := map[string]string{}
	for line := range strings.Lines(string(text)) {
		if name, digits, ok := strings.Cut(strings.TrimSpace(line), "\t"); ok {
			b, err := hex.DecodeString(digits)
			require.NoError(t, err)
			lines[name] = string(b)
		}
	}
	require.Len(t, lines, 14)
	return lines
}
