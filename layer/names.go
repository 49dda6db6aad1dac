package layer

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strings"
)

const (
	// MaxNameLength is the longest channel or group name, in bytes.
	MaxNameLength = 100

	// MaxPrefixLength is the longest prefix that NewChannel takes, in bytes.
	// It leaves room for 66 bytes of client prefix and local part, which is
	// what channels_redis needs.
	MaxPrefixLength = 32

	// DefaultPrefix is what NewChannel uses for an empty prefix; Django's
	// channel layers use the same.
	DefaultPrefix = "specific"
)

// ValidateChannel returns nil for a valid channel name: 1 to MaxNameLength
// ASCII letters, digits, '-', '_' and '.', of which a process-specific channel
// has, besides, one '!' with something before and after it. Otherwise the
// error matches [ErrInvalidName] and says what is wrong.
func ValidateChannel(name string) error {
	if i := badByte(name); i >= 0 {
		if name[i] != '!' {
			return invalidName("channel name", name, badByteText(name, i))
		}
		prefix, local := name[:i], name[i+1:]
		switch j := badByte(local); {
		case j >= 0 && local[j] == '!':
			return invalidName("channel name", name, "more than one '!'")
		case j >= 0:
			return invalidName("channel name", name, badByteText(name, i+1+j))
		case prefix == "":
			return invalidName("channel name", name, "nothing before '!'")
		case local == "":
			return invalidName("channel name", name, "nothing after '!'")
		}
	}
	return checkLength("channel name", name, 1, MaxNameLength)
}

// ValidateGroup returns nil for a valid group name: 1 to MaxNameLength ASCII
// letters, digits, '-', '_' and '.'. Otherwise the error matches
// [ErrInvalidName] and says what is wrong. [GroupName] makes a valid name of
// any string.
func ValidateGroup(name string) error {
	return validatePlain("group name", name, 1, MaxNameLength)
}

// ValidatePrefix returns nil for a prefix that NewChannel takes: 0 to
// MaxPrefixLength ASCII letters, digits, '-', '_' and '.'. Otherwise the error
// matches [ErrInvalidName] and says what is wrong.
func ValidatePrefix(prefix string) error {
	return validatePlain("channel prefix", prefix, 0, MaxPrefixLength)
}

// IsProcessSpecific reports whether a valid channel name is process-specific:
// whether it has a '!'.
func IsProcessSpecific(channel string) bool {
	return strings.IndexByte(channel, '!') >= 0
}

// ClientPrefix returns a process-specific channel name up to and including the
// '!', which is the same for all channels that one Layer made with one prefix.
// For a normal channel it returns "".
func ClientPrefix(channel string) string {
	return channel[:strings.IndexByte(channel, '!')+1]
}

// hashedPrefix marks the names that GroupName made by hashing. It hashes
// strings that begin so, too: that is what keeps the two kinds apart.
const hashedPrefix = "h."

// maxReadable is how much of the original a hashed group name shows.
const maxReadable = 40

// GroupName turns any string (a room title, an e-mail address, a URL path)
// into a valid group name, the same one in every process. A string that is a
// valid group name, and does not begin with "h.", stays as it is. Any other
// becomes "h.", up to 40 of its characters for people to read ('-' where one
// is not allowed), "." and 43 characters of its SHA-256: two strings get one
// name only if SHA-256 collides. Apply it once: a name that it hashed would be
// hashed again.
func GroupName(s string) string {
	if !strings.HasPrefix(s, hashedPrefix) && ValidateGroup(s) == nil {
		return s
	}
	sum := sha256.Sum256([]byte(s))
	var b strings.Builder
	b.WriteString(hashedPrefix)
	n := 0
	for _, r := range s {
		if n++; n > maxReadable {
			break
		}
		if r < 0x80 && nameByte[byte(r)] {
			b.WriteByte(byte(r))
		} else {
			b.WriteByte('-')
		}
	}
	b.WriteByte('.')
	b.WriteString(base64.RawURLEncoding.EncodeToString(sum[:]))
	return b.String()
}

func validatePlain(what, name string, shortest, longest int) error {
	if i := badByte(name); i >= 0 {
		return invalidName(what, name, badByteText(name, i))
	}
	return checkLength(what, name, shortest, longest)
}

func checkLength(what, name string, shortest, longest int) error {
	if len(name) < shortest {
		return invalidName(what, name, "it is empty")
	}
	if len(name) > longest {
		return invalidName(what, name, fmt.Sprintf("%d bytes long, at most %d are allowed", len(name), longest))
	}
	return nil
}

func badByteText(name string, i int) string {
	return fmt.Sprintf("%q at byte %d is not an ASCII letter, digit, '-', '_' or '.'", name[i:i+1], i)
}

func invalidName(what, name, why string) error {
	return &Error{Op: what, Name: name, Err: fmt.Errorf("%w: %s", ErrInvalidName, why)}
}

// badByte returns the index of the first byte that a plain name cannot hold,
// or -1.
func badByte(name string) int {
	for i := range len(name) {
		if !nameByte[name[i]] {
			return i
		}
	}
	return -1
}

// nameByte tells which bytes a name may hold.
var nameByte = func() (table [256]bool) {
	for c := range 256 {
		table[c] = 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_' || c == '.'
	}
	return table
}()
