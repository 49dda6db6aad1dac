package codec_test

import (
	"bytes"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/layer/codec"
)

func TestRefused(t *testing.T) {
	tooDeep := "\x81\xa1v" + strings.Repeat("\x91", layer.MaxDepth) + "\xc0"
	tooDeepMaps := strings.Repeat("\x81\xa1v", layer.MaxDepth+1) + "\xc0"
	tooMany := "\x81\xa1v\xdd\x00\x01\x86\xa0" + strings.Repeat("\xc0", layer.MaxValues)
	for _, test := range []struct{ name, wire, err string }{
		{"nothing", "", "at byte 0: it ends early"},
		{"no map but nil", "\xc0", "at byte 0: not a map"},
		{"no map but an array", "\x91\x01", "at byte 0: not a map"},
		{"no map but a string", "\xa1a", "at byte 0: not a map"},
		{"no map but JSON", `{"type": "a"}`, "at byte 0: not a map"},
		{"a byte after it", "\x80\xc0", "at byte 1: 1 bytes after the message"},
		{"a message after it", "\x81\xa1v\x01\x81\xa1v\x02", "at byte 4: 4 bytes after the message"},

		{"array of 4 Gi values", "\x81\xa1v\xdd\xff\xff\xff\xff", "at byte 8: 4294967295 elements are announced, too many for the 0 bytes that remain"},
		{"array of 4 Gi values alone", "\xdd\xff\xff\xff\xff", "at byte 0: not a map"},
		{"map of 4 Gi fields", "\xdf\xff\xff\xff\xff\xa1a\x01", "at byte 5: 4294967295 elements are announced, too many for the 3 bytes that remain"},
		{"map of 2 Gi fields inside", "\x81\xa1v\xdf\x7f\xff\xff\xff", "at byte 8: 2147483647 elements are announced"},
		{"array of one more than there is", "\x81\xa1v\x93\x01\x02", "at byte 4: 3 elements are announced, too many for the 2 bytes that remain"},
		{"map of one more than there is", "\x81\xa1v\x82\xa1a\x01", "at byte 4: 2 elements are announced, too many for the 3 bytes"},
		{"map that ends in a key", "\x82\xa1a\x01\xa4abc", "at byte 5: 4 bytes are announced, 3 remain"},
		{"map that ends before a value", "\x82\xa1a\xa1b\xa1c", "at byte 7: it ends early"},
		{"string of 4 GiB", "\x81\xa1v\xdb\xff\xff\xff\xffa", "at byte 8: 4294967295 bytes are announced, 1 remain"},
		{"bytes of 4 GiB", "\x81\xa1v\xc6\xff\xff\xff\xffa", "at byte 8: 4294967295 bytes are announced, 1 remain"},
		{"key of 4 GiB", "\x81\xdb\xff\xff\xff\xff\x01", "at byte 6: 4294967295 bytes are announced, 1 remain"},

		{"8 MB of arrays", "\x81\xa1v" + strings.Repeat("\x91", 8<<20), "at byte 131: nested deeper than 128"},
		{"8 MB of maps", strings.Repeat("\x81\xa1v", 8<<20/3) + "\xc0", "nested deeper than 128"},
		{"arrays one deeper than allowed", tooDeep, "nested deeper than 128"},
		{"maps one deeper than allowed", tooDeepMaps, "nested deeper than 128"},
		{"one value more than allowed", tooMany, "at byte 8: more than 100000 values"},

		{"string not UTF-8", "\x81\xa1v\xa2\xc3\x28", `at byte 4: string "\xc3(" is not UTF-8`},
		{"string with half a surrogate pair", "\x81\xa1v\xa3\xed\xa0\x80", "at byte 4: string"},
		{"key not UTF-8", "\x81\xa1\xff\x01", "at byte 2: key"},
		{"key of bytes not UTF-8", "\x81\xc4\x01\xff\x01", "at byte 3: key"},
		{"key is an integer", "\x81\x01\x01", "at byte 1: a key is not a string"},
		{"key is nil", "\x81\xc0\x01", "at byte 1: a key is not a string"},
		{"key is a float", "\x81\xca\x00\x00\x00\x00\x01", "at byte 1: a key is not a string"},
		{"key is an array", "\x81\x90\x01", "at byte 1: a key is not a string"},
		{"key is an ext", "\x81\xd4\x01\x02\x01", "at byte 1: a key is not a string"},
		{"key inside is an integer", "\x81\xa1v\x81\x01\x01", "at byte 4: a key is not a string"},
		{"reserved key", "\x81\xb0" + layer.ReservedKey + "\x01", "at byte 1: the key __asgi_channel__ is reserved"},
		{"reserved key of bytes", "\x81\xc4\x10" + layer.ReservedKey + "\x01", "at byte 1: the key __asgi_channel__ is reserved"},

		{"least integer above int64", "\x81\xa1v\xcf\x80\x00\x00\x00\x00\x00\x00\x00", "at byte 3: integer 9223372036854775808 is outside int64"},
		{"greatest uint64", "\x81\xa1v\xcf\xff\xff\xff\xff\xff\xff\xff\xff", "at byte 3: integer 18446744073709551615 is outside int64"},
		{"fixext 1", "\x81\xa1v\xd4\x01\x02", "at byte 3: extension types are not supported"},
		{"fixext 16", "\x81\xa1v\xd8\x01" + strings.Repeat("\x00", 16), "at byte 3: extension types are not supported"},
		{"ext 8", "\x81\xa1v\xc7\x01\x01\x02", "at byte 3: extension types are not supported"},
		{"ext 32", "\x81\xa1v\xc9\xff\xff\xff\xff\x01", "at byte 3: extension types are not supported"},
		{"a timestamp", "\x81\xa1v\xd6\xff\x00\x00\x00\x00", "at byte 3: extension types are not supported"},
		{"0xc1", "\x81\xa1v\xc1", "at byte 3: no value begins with 0xc1"},
	} {
		t.Run(test.name, func(t *testing.T) {
			wire := []byte(test.wire)
			size, err := codec.Check(wire)
			require.ErrorIs(t, err, layer.ErrInvalidMessage)
			require.ErrorContains(t, err, test.err)
			require.Zero(t, size)

			msg, decodeErr := codec.Decode(wire)
			require.Equal(t, err, decodeErr)
			require.Equal(t, layer.Message{}, msg)

			if !strings.HasPrefix(test.name, "reserved") {
				_, _, err = codec.DecodeAddressed(wire)
				require.Equal(t, decodeErr, err)
			}
		})
	}
}

func TestBoundsThemselvesAreAccepted(t *testing.T) {
	for name, wire := range map[string]string{
		"arrays": "\x81\xa1v" + strings.Repeat("\x91", layer.MaxDepth-2) + "\x90",
		"maps":   strings.Repeat("\x81\xa1v", layer.MaxDepth) + "\xc0",
		"values": "\x81\xa1v\xdd\x00\x01\x86\x9f" + strings.Repeat("\xc0", layer.MaxValues-1),
	} {
		msg, err := codec.Decode([]byte(wire))
		require.NoError(t, err, name)
		again, err := codec.Encode(layer.NewMessage(msg.Map()))
		require.NoError(t, err, name)
		require.True(t, wire == string(again), "%s: encoded again, %d bytes became %d others", name, len(wire), len(again))
	}
}

func TestTruncated(t *testing.T) {
	for _, form := range forms {
		wire := append([]byte("\x81\xa1v"), unhex(t, form.hex)...)
		step := 1 + len(wire)/1000
		for n := 0; n < len(wire); n += step {
			_, err := codec.Decode(wire[:n])
			require.ErrorIs(t, err, layer.ErrInvalidMessage, "%s, the first %d of %d bytes", form.name, n, len(wire))
		}
	}
}

func TestTooLarge(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes 1 GiB of zeros")
	}
	const head = "\x81\xa1v\xc6\x40\x00\x00\x00" // 1 GiB of bytes
	wire := make([]byte, len(head)+layer.MaxSize)
	copy(wire, head)
	_, err := codec.Check(wire)
	require.ErrorIs(t, err, layer.ErrMessageTooLarge)
}

// Whatever a sender claims, memory stays in proportion to what it sent.
func TestMemoryIsBounded(t *testing.T) {
	const length = 1 << 20
	twice := func(element string) string {
		return "\x82\xa1v\xdd\x00\x01\x5f\x90" + strings.Repeat(element, 90_000) + "\xa1v\x01" // decoded at once
	}
	for name, wire := range map[string]string{
		"claims":       "\x81\xa1v" + strings.Repeat("\xdf\xff\xff\xff\xff", length/5),
		"arrays":       "\x81\xa1v" + strings.Repeat("\x91", length),
		"empty arrays": twice("\x90"),
		"empty maps":   twice("\x80"),
		"empty bytes":  twice("\xc4\x00"),
	} {
		b := []byte(wire)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, _ = codec.Decode(b)
		runtime.ReadMemStats(&after)
		spent := after.TotalAlloc - before.TotalAlloc
		// 16 for the interface, 48 for an empty map, twice over; the copy.
		require.Less(t, spent, uint64(200*len(b)+4096), fmt.Sprintf("%s: decoding %d bytes took this much memory", name, len(b)))
	}
}

// A message is not checked again when somebody looks: nothing may go wrong
// then that did not go wrong before.
func TestDamaged(t *testing.T) {
	wire, err := codec.Encode(layer.NewMessage(map[string]any{
		"type": "chat", "n": -300, "f": 1.5, "l": []any{1, nil, "é", []byte{9}}, "m": map[string]any{"a": true, "b": 70000},
	}))
	require.NoError(t, err)
	accepted := 0
	for i := range wire {
		for c := range 256 {
			b := bytes.Clone(wire)
			b[i] = byte(c)
			if checkAgreement(t, b) {
				accepted++
			}
		}
	}
	require.Greater(t, accepted, len(wire), "almost nothing was accepted: the test tests little")
}

// checkAgreement checks that Check and Decode agree on b, and that what they
// accept is a message like any other. It reports whether they accept.
func checkAgreement(t testing.TB, b []byte) bool {
	t.Helper()
	size, checkErr := codec.Check(b)
	msg, err := codec.Decode(b)
	addressed, channels, addressedErr := codec.DecodeAddressed(b)
	if (checkErr == nil) != (err == nil) || err != nil && err.Error() != checkErr.Error() {
		t.Fatalf("%x: Check says %v, Decode says %v", b, checkErr, err)
	}
	if addressedErr == nil {
		checkRoundTrip(t, b, addressed)
	}
	if err != nil {
		return false
	}
	if addressedErr != nil || channels != nil || !addressed.Equal(msg) {
		t.Fatalf("%x: Decode makes %v, DecodeAddressed %v for %q (%v)", b, msg, addressed, channels, addressedErr)
	}
	if msg.Size() != size {
		t.Fatalf("%x: Check says %d bytes, the message says %d", b, size, msg.Size())
	}
	checkRoundTrip(t, b, msg)
	return true
}

func checkRoundTrip(t testing.TB, b []byte, msg layer.Message) {
	t.Helper()
	made := layer.NewMessage(msg.Map())
	if !made.Equal(msg) || made.Size() != msg.Size() {
		t.Fatalf("%x: decoded %v of %d bytes, which NewMessage makes %v of %d bytes", b, msg, msg.Size(), made, made.Size())
	}
	wire, err := codec.Append(nil, msg)
	if err != nil || len(wire) != msg.Size() {
		t.Fatalf("%x: decoded %v of %d bytes; encoded again it is %x (%v)", b, msg, msg.Size(), wire, err)
	}
	again, err := codec.Decode(wire)
	if err != nil || !again.Equal(msg) || again.Size() != msg.Size() {
		t.Fatalf("%x: decoded %v; encoded and decoded again it is %v (%v)", b, msg, again, err)
	}
}

func FuzzDecode(f *testing.F) {
	for _, form := range forms {
		if len(form.hex) < 200 {
			f.Add(append([]byte("\x81\xa1v"), unhex(f, form.hex)...))
			f.Add(unhex(f, form.hex))
		}
	}
	f.Add([]byte("\x82\xb0" + layer.ReservedKey + "\x92\xa1x\xa1y\xa1a\x01"))
	f.Add([]byte("\x81\xa1v\xdd\xff\xff\xff\xff"))
	f.Add([]byte("\x81\xa1v\xd4\x01\x02"))
	f.Fuzz(func(t *testing.T, b []byte) { checkAgreement(t, b) })
}
