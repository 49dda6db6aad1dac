package channelsredis

import (
	"bytes"
	"encoding/base64"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/channellayer/channellayer/layer"
)

// testFernet has the time and the IV that the vectors were made with.
func testFernet(tb testing.TB, keys ...string) *fernet {
	tb.Helper()
	f := newFernet(keys)
	f.now = func() time.Time { return time.Unix(1700000000, 0) }
	f.random = func(b []byte) {
		for i := range b {
			b[i] = byte(i)
		}
	}
	return f
}

const vectorKey = "a key of the golden file"

func TestFernetVectors(t *testing.T) {
	text, err := os.ReadFile("testdata/fernet.txt")
	require.NoError(t, err)
	f := testFernet(t, vectorKey)
	n := 0
	for line := range strings.Lines(string(text)) {
		name, token, ok := strings.Cut(strings.TrimSpace(line), "\t")
		if !ok {
			continue
		}
		n++
		plain, err := f.open([]byte(token), time.Minute)
		require.NoError(t, err, name)
		require.Equal(t, strings.TrimPrefix(goldenLines(t)[name], goldenRandom), string(plain), name)
		require.Equal(t, "kept"+token, string(f.seal([]byte("kept"), plain)), name)
	}
	require.Equal(t, 5, n)
}

// The tokens of channels_redis itself have the same shape, time and IV; the key
// they were made with is not known here.
func TestFernetOfChannelsRedis(t *testing.T) {
	f := testFernet(t, vectorKey)
	for name, plain := range map[string]string{
		"core specific Fernet": "core specific", "pubsub group Fernet": "pubsub group_send", "core json Fernet": "core json random_prefix_length 0",
	} {
		lines := goldenLines(t)
		token := strings.TrimPrefix(lines[name], goldenRandom)
		ours := string(f.seal(nil, []byte(strings.TrimPrefix(lines[plain], goldenRandom))))
		require.Len(t, token, len(ours), name)
		const head = fernetHead * 4 / 3
		require.Equal(t, token[:head], ours[:head], name)
		_, err := f.open([]byte(token), 0)
		require.ErrorIs(t, err, errWrongKey, name)
	}
}

func TestFernetRotation(t *testing.T) {
	before, during, after := testFernet(t, "old"), testFernet(t, "new", "old"), testFernet(t, "new")
	for _, test := range []struct {
		name     string
		from, to *fernet
		want     error
	}{
		{"old key, new key added", before, during, nil},
		{"new key, old key kept", during, during, nil},
		{"new key, old key gone", during, after, nil},
		{"old key, old key gone", before, after, errWrongKey},
		{"new key, not yet known", during, before, errWrongKey},
	} {
		plain, err := test.to.open(test.from.seal(nil, []byte("body")), 0)
		if test.want != nil {
			require.ErrorIs(t, err, test.want, test.name)
			require.ErrorIs(t, err, layer.ErrInvalidMessage, test.name)
			continue
		}
		require.NoError(t, err, test.name)
		require.Equal(t, "body", string(plain), test.name)
	}
}

func TestFernetAge(t *testing.T) {
	f := testFernet(t, "key")
	token := f.seal(nil, []byte("body"))
	at := func(seconds int) { f.now = func() time.Time { return time.Unix(1700000000+int64(seconds), 999) } }
	for _, test := range []struct {
		after  int
		maxAge time.Duration
		want   error
	}{
		{0, 70 * time.Second, nil},
		{70, 70 * time.Second, nil},
		{71, 70 * time.Second, errTokenAge},
		{-60, 70 * time.Second, nil},
		{-61, 70 * time.Second, errTokenAhead},
		{1e9, 0, nil},
		{-1e9, 0, nil},
	} {
		at(test.after)
		_, err := f.open(token, test.maxAge)
		if test.want == nil {
			require.NoError(t, err, "%d s after it was made, at most %v", test.after, test.maxAge)
		} else {
			require.ErrorIs(t, err, test.want, "%d s after it was made, at most %v", test.after, test.maxAge)
		}
	}
}

func TestFernetRefuses(t *testing.T) {
	f := testFernet(t, "key")
	token := f.seal(nil, []byte("some body that is longer than a block"))
	for name, bad := range map[string][]byte{
		"nothing":        nil,
		"a plain body":   []byte("\x81\xa4type\xa1a"),
		"JSON":           []byte(`{"type": "a"}`),
		"a line end":     append(bytes.Clone(token), '\n'),
		"half of it":     token[:len(token)/2],
		"twice":          append(bytes.Clone(token), token...),
		"another letter": bytes.Replace(token, token[40:41], []byte("!"), 1),
	} {
		_, err := f.open(bad, 0)
		require.ErrorIs(t, err, layer.ErrInvalidMessage, name)
	}
	raw, err := base64.URLEncoding.DecodeString(string(token))
	require.NoError(t, err)
	for i := range raw {
		raw[i] ^= 1
		_, err := f.open([]byte(base64.URLEncoding.EncodeToString(raw)), 0)
		require.ErrorIs(t, err, layer.ErrInvalidMessage, "bit changed in byte %d of %d", i, len(raw))
		raw[i] ^= 1
	}
}

func TestFernetIsRandom(t *testing.T) {
	f := newFernet([]string{"key"})
	require.NotEqual(t, f.seal(nil, []byte("body")), f.seal(nil, []byte("body")))
}

func FuzzFernet(f *testing.F) {
	sealed := testFernet(f, "key", "other")
	f.Add([]byte("body"))
	f.Add(sealed.seal(nil, nil))
	f.Add(sealed.seal(nil, []byte(strings.Repeat("x", 15))))
	f.Fuzz(func(t *testing.T, b []byte) {
		if plain, err := sealed.open(b, 0); err == nil && len(b) < len(plain) {
			t.Fatalf("%q opened to the longer %q", b, plain)
		}
		plain, err := sealed.open(sealed.seal(nil, b), time.Second)
		if err != nil || !bytes.Equal(plain, b) {
			t.Fatalf("sealed %q, opened %q, %v", b, plain, err)
		}
	})
}

func BenchmarkFernet(b *testing.B) {
	f := newFernet([]string{"key"})
	body := bytes.Repeat([]byte("x"), 173)
	token := f.seal(nil, body)
	b.Run("seal", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			f.seal(nil, body)
		}
	})
	b.Run("open", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			f.open(token, time.Minute)
		}
	})
}
