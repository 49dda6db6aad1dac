package codec_test

import (
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/layer/codec"
)

func TestAppendKeepsWhatIsThere(t *testing.T) {
	msg := layer.NewMessage(map[string]any{"type": "a"})
	got, err := codec.Append([]byte("before"), msg)
	require.NoError(t, err)
	require.Equal(t, "before\x81\xa4type\xa1a", string(got))
}

func TestZeroMessage(t *testing.T) {
	got, err := codec.Encode(layer.Message{})
	require.NoError(t, err)
	require.Equal(t, "\x80", string(got))

	msg, err := codec.Decode(got)
	require.NoError(t, err)
	require.True(t, msg.Equal(layer.Message{}))
	require.Equal(t, 1, msg.Size())
}

func TestInvalidMessageIsNotEncoded(t *testing.T) {
	bad := layer.NewMessage(map[string]any{"when": struct{}{}})
	for name, encode := range map[string]func() ([]byte, error){
		"Append":          func() ([]byte, error) { return codec.Append(nil, bad) },
		"Encode":          func() ([]byte, error) { return codec.Encode(bad) },
		"AppendAddressed": func() ([]byte, error) { return codec.AppendAddressed(nil, bad, "a!b") },
	} {
		b, err := encode()
		require.Equal(t, bad.Err(), err, name)
		require.Empty(t, b, name)
	}
}

func TestEncodeOnce(t *testing.T) {
	msg := layer.NewMessage(map[string]any{"type": "a", "n": 1})
	first, err := codec.Encode(msg)
	require.NoError(t, err)
	require.Zero(t, testing.AllocsPerRun(100, func() {
		if again, _ := codec.Encode(msg); &again[0] != &first[0] {
			t.Error("Encode computed the bytes again")
		}
	}))
}

func TestDecodeKeepsNothingOfItsInput(t *testing.T) {
	wire, err := codec.Encode(layer.NewMessage(map[string]any{"s": "text", "b": []byte("bytes"), "l": []any{"in"}}))
	require.NoError(t, err)
	buf := append([]byte(nil), wire...)
	msg, err := codec.Decode(buf)
	require.NoError(t, err)
	clear(buf)
	require.Equal(t, map[string]any{"s": "text", "b": []byte("bytes"), "l": []any{"in"}}, msg.Map())
}

func TestDecodedMessageIsReadConcurrently(t *testing.T) {
	want := layer.NewMessage(map[string]any{"type": "chat", "l": []any{1, "x"}, "m": map[string]any{"b": []byte{1}}})
	wire, err := codec.Encode(want)
	require.NoError(t, err)
	for range 100 {
		msg, err := codec.Decode(wire)
		require.NoError(t, err)
		var readers sync.WaitGroup
		for range 4 {
			readers.Go(func() {
				if !msg.Equal(want) {
					t.Errorf("read %v, expected %v", msg, want)
				}
			})
		}
		readers.Wait()
	}
}

func TestAllocations(t *testing.T) {
	fields := map[string]any{
		"type": "chat.message", "user": map[string]any{"name": "alice", "id": 7}, "tags": []any{"a", nil, true, 1.5},
		"body": make([]byte, 400), "text": strings.Repeat("h", 500),
	}
	for range 100 {
		fields[strings.Repeat("k", len(fields))] = -1000
	}
	wire, err := codec.Encode(layer.NewMessage(fields))
	require.NoError(t, err)
	python := []byte("\x83\xa4type\xacchat.message\xa4text\xa2hi\xa1n\xcd\x01\x00") // not in order
	for _, b := range [][]byte{wire, python} {
		require.Zero(t, testing.AllocsPerRun(100, func() {
			if _, err := codec.Check(b); err != nil {
				t.Error(err)
			}
		}), "Check of %.40q", b)
		require.LessOrEqual(t, testing.AllocsPerRun(100, func() {
			if _, err := codec.Decode(b); err != nil {
				t.Error(err)
			}
		}), 3.0, "Decode of %.40q: the bytes, the message, and how to read it", b)
	}
}

func TestAddressed(t *testing.T) {
	for name, test := range map[string]struct {
		fields   int
		channels []string
	}{
		"one":                     {2, []string{"specific.a!b"}},
		"several":                 {2, []string{"specific.a!b", "specific.a!c"}},
		"none":                    {2, []string{}},
		"an empty message":        {0, []string{"specific.a!b"}},
		"header gets longer":      {15, []string{"specific.a!b"}},
		"header is long":          {16, []string{"specific.a!b"}},
		"many":                    {3, strings.Split(strings.Repeat("specific.a!b ", 1000)+"x", " ")},
		"more keys than compared": {40, []string{"specific.a!b", "specific.a!c"}},
	} {
		t.Run(name, func(t *testing.T) {
			fields := map[string]any{}
			for i := range test.fields {
				fields[string(rune('B'+i))] = i // before and after '_'
			}
			msg := layer.NewMessage(fields)
			wire, err := codec.AppendAddressed([]byte("12 random.."), msg, test.channels...)
			require.NoError(t, err)
			require.Equal(t, "12 random..", string(wire[:11]))

			got, channels, err := codec.DecodeAddressed(wire[11:])
			require.NoError(t, err)
			require.Equal(t, test.channels, channels)
			require.Equal(t, msg.Size(), got.Size())
			require.True(t, msg.Equal(got), "decoded %v, expected %v", got, msg)

			_, err = codec.Decode(wire[11:])
			require.ErrorIs(t, err, layer.ErrInvalidMessage)
			require.ErrorContains(t, err, "reserved")
		})
	}
}

func TestAddressedForms(t *testing.T) {
	const key = "\xb0" + layer.ReservedKey
	for name, test := range map[string]struct {
		wire     string
		channels []string // nil: none
		message  map[string]any
		err      string
	}{
		"no address":            {"\x81\xa1a\x01", nil, map[string]any{"a": 1}, ""},
		"key first":             {"\x82" + key + "\xa1x\xa1a\x01", []string{"x"}, map[string]any{"a": 1}, ""},
		"key of bytes":          {"\x81\xc4\x10" + layer.ReservedKey + "\xa1x", []string{"x"}, map[string]any{}, ""},
		"key twice":             {"\x83" + key + "\xa1x\xa1a\x01" + key + "\x91\xa1y", []string{"y"}, map[string]any{"a": 1}, ""},
		"another key twice":     {"\x83\xa1a\x02" + key + "\xa1x\xa1a\x01", []string{"x"}, map[string]any{"a": 1}, ""},
		"key inside":            {"\x81\xa1a\x81" + key + "\xa1x", nil, map[string]any{"a": map[string]any{layer.ReservedKey: "x"}}, ""},
		"a number":              {"\x81" + key + "\x01", nil, nil, "at byte 18: __asgi_channel__ is neither"},
		"bytes":                 {"\x81" + key + "\xc4\x01x", nil, nil, "at byte 18: __asgi_channel__ is neither"},
		"an array with nil":     {"\x81" + key + "\x92\xa1x\xc0", nil, nil, "at byte 21: a channel"},
		"a number, given twice": {"\x82" + key + "\xa1x" + key + "\x01", nil, nil, "at byte 37: __asgi_channel__ is neither"},
	} {
		t.Run(name, func(t *testing.T) {
			msg, channels, err := codec.DecodeAddressed([]byte(test.wire))
			if test.err != "" {
				require.ErrorIs(t, err, layer.ErrInvalidMessage)
				require.ErrorContains(t, err, test.err)
				return
			}
			require.NoError(t, err)
			require.Equal(t, test.channels, channels)
			want := layer.NewMessage(test.message)
			require.Equal(t, want.Size(), msg.Size())
			require.True(t, want.Equal(msg), "decoded %v, expected %v", msg, want)
		})
	}
}
