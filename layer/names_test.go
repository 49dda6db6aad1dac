package layer_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/channellayer/channellayer/layer"
)

func TestNames(t *testing.T) {
	const bad = ` is not an ASCII letter, digit, '-', '_' or '.'`
	long := strings.Repeat("a", layer.MaxNameLength)
	longPrefix := strings.Repeat("a", layer.MaxPrefixLength)
	for _, test := range []struct{ name, channel, group, prefix string }{ // "" is valid
		{"a", "", "", ""},
		{"Chat-1_2.3", "", "", ""},
		{"", "it is empty", "it is empty", ""},
		{"a!b", "", `"!" at byte 1` + bad, `"!" at byte 1` + bad},
		{"spec.x!aB-_.9", "", `"!" at byte 6` + bad, `"!" at byte 6` + bad},
		{"!", "nothing before '!'", `"!" at byte 0` + bad, `"!" at byte 0` + bad},
		{"!b", "nothing before '!'", `"!" at byte 0` + bad, `"!" at byte 0` + bad},
		{"a!", "nothing after '!'", `"!" at byte 1` + bad, `"!" at byte 1` + bad},
		{"a!b!c", "more than one '!'", `"!" at byte 1` + bad, `"!" at byte 1` + bad},
		{"a!!", "more than one '!'", `"!" at byte 1` + bad, `"!" at byte 1` + bad},
		{"a!b c", `" " at byte 3` + bad, `"!" at byte 1` + bad, `"!" at byte 1` + bad},
		{"a b", `" " at byte 1` + bad, `" " at byte 1` + bad, `" " at byte 1` + bad},
		{"a\n", `"\n" at byte 1` + bad, `"\n" at byte 1` + bad, `"\n" at byte 1` + bad},
		{"a\x00", `"\x00" at byte 1` + bad, `"\x00" at byte 1` + bad, `"\x00" at byte 1` + bad},
		{"é", `"\xc3" at byte 0` + bad, `"\xc3" at byte 0` + bad, `"\xc3" at byte 0` + bad},
		{"٣", `"\xd9" at byte 0` + bad, `"\xd9" at byte 0` + bad, `"\xd9" at byte 0` + bad},
		{"a/b", `"/" at byte 1` + bad, `"/" at byte 1` + bad, `"/" at byte 1` + bad},
		{longPrefix, "", "", ""},
		{longPrefix + "a", "", "", "33 bytes long, at most 32 are allowed"},
		{long, "", "", "100 bytes long, at most 32 are allowed"},
		{long + "a", "101 bytes long, at most 100 are allowed", "101 bytes long, at most 100 are allowed", "101 bytes long, at most 32 are allowed"},
		{long[2:] + "!a", "", `"!" at byte 98` + bad, `"!" at byte 98` + bad},
		{long[1:] + "!a", "101 bytes long, at most 100 are allowed", `"!" at byte 99` + bad, `"!" at byte 99` + bad},
	} {
		for what, check := range map[string]struct {
			got  error
			want string
		}{
			"channel name":   {layer.ValidateChannel(test.name), test.channel},
			"group name":     {layer.ValidateGroup(test.name), test.group},
			"channel prefix": {layer.ValidatePrefix(test.name), test.prefix},
		} {
			if check.want == "" {
				require.NoError(t, check.got, "%s %q", what, test.name)
				continue
			}
			require.ErrorIs(t, check.got, layer.ErrInvalidName, "%s %q", what, test.name)
			require.ErrorIs(t, check.got, layer.ErrNotSent, "%s %q", what, test.name)
			var err *layer.Error
			require.ErrorAs(t, check.got, &err)
			require.Equal(t, what, err.Op)
			require.Equal(t, test.name, err.Name)
			require.EqualError(t, err.Err, "layer: invalid name: "+check.want, "%s %q", what, test.name)
		}
	}
}

func TestEveryByteInNames(t *testing.T) {
	const allowed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_."
	for c := range 256 {
		name := string([]byte{byte(c)})
		want := strings.Contains(allowed, name)
		require.Equal(t, want, layer.ValidateGroup(name) == nil, "group %q", name)
		require.Equal(t, want, layer.ValidateChannel(name) == nil, "channel %q", name)
		require.Equal(t, want, layer.ValidatePrefix(name) == nil, "prefix %q", name)
		require.Equal(t, want, layer.ValidateChannel("a!"+name) == nil, "channel %q", "a!"+name)
	}
}

func TestPartsOfChannelNames(t *testing.T) {
	for name, prefix := range map[string]string{"work": "", "specific.x!y": "specific.x!", "a!b": "a!"} {
		require.Equal(t, prefix, layer.ClientPrefix(name), name)
		require.Equal(t, prefix != "", layer.IsProcessSpecific(name), name)
	}
}

func TestGroupName(t *testing.T) {
	long := strings.Repeat("a", 100)
	for in, want := range map[string]string{
		"room-7":   "room-7",
		"h":        "h",
		"hello.h.": "hello.h.",
		long:       long,
		"":         "h..47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU",
		"h.":       "h.h..vngP_rk3G6cOXO0jIqKxea-N_VOxuK5EEcfJtGAazXE",
	} {
		require.Equal(t, want, layer.GroupName(in), "name of %q", in)
	}
	for in, begin := range map[string]string{
		"kim@example.org":         "h.kim-example.org.",
		"Café ☕":                  "h.Caf---.",
		"\xff\xfe":                "h.--.",
		long + "a":                "h." + long[:40] + ".",
		strings.Repeat("☕", 1000): "h." + strings.Repeat("-", 40) + ".",
	} {
		got := layer.GroupName(in)
		require.True(t, strings.HasPrefix(got, begin), "name of %q: got %q, want it to begin with %q", in, got, begin)
		require.Len(t, got, len(begin)+43, "name of %q", in)
	}
}

func TestGroupNamesAreValidAndDistinct(t *testing.T) {
	like := rapid.OneOf(
		rapid.String(),
		rapid.StringMatching(`[a-zA-Z0-9._-]{0,101}`),
		rapid.StringMatching(`(h\.)?[a-c]{0,2}[!@. é]?`),
		rapid.Map(rapid.SampledFrom([]string{"", "a b", "x@y", "h."}), layer.GroupName),
	)
	rapid.Check(t, func(t *rapid.T) {
		a, b := like.Draw(t, "a"), like.Draw(t, "b")
		name := layer.GroupName(a)
		require.NoError(t, layer.ValidateGroup(name), "name of %q", a)
		require.Equal(t, name, layer.GroupName(strings.Clone(a)))
		require.Equal(t, a == b, name == layer.GroupName(b), "%q and %q are named %q and %q", a, b, name, layer.GroupName(b))
	})
}

func FuzzNames(f *testing.F) {
	for _, seed := range []string{"", "a", "a!b", "!", "h.x", "é\xff", strings.Repeat("a", 101)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		name := layer.GroupName(s)
		if err := layer.ValidateGroup(name); err != nil {
			t.Fatalf("GroupName(%q) = %q: %v", s, name, err)
		}
		group, channel := layer.ValidateGroup(s), layer.ValidateChannel(s)
		if (name == s) != (group == nil && !strings.HasPrefix(s, "h.")) {
			t.Fatalf("GroupName(%q) = %q, and ValidateGroup says %v", s, name, group)
		}
		if (group == nil) != (channel == nil && !layer.IsProcessSpecific(s)) {
			t.Fatalf("%q: as a group %v, as a channel %v", s, group, channel)
		}
		if channel == nil && layer.IsProcessSpecific(s) {
			prefix := layer.ClientPrefix(s)
			if layer.ValidateGroup(strings.TrimSuffix(prefix, "!")) != nil || layer.ValidateGroup(s[len(prefix):]) != nil {
				t.Fatalf("%q is valid, its parts %q and %q are not", s, prefix, s[len(prefix):])
			}
		}
		for _, err := range []error{group, channel, layer.ValidatePrefix(s)} {
			if err != nil && (len(err.Error()) > 3000 || !utf8.ValidString(err.Error())) {
				t.Fatalf("%q: unfit text %q", s, err)
			}
		}
	})
}
