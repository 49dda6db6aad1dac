package channelsredis

import (
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/channellayer/channellayer/layer"
)

func (c *Core) groupKey(group string) string { return c.options.Prefix + ":group:" + group }

// Times as the scripts take them.

func (c *Core) expiryMicros() int64      { return c.options.Expiry.Microseconds() }
func (c *Core) groupExpiryMicros() int64 { return c.options.GroupExpiry.Microseconds() }

// queueGrace is how much longer than Expiry Redis keeps a queue after the last
// message, so that whoever sent it can count it when it expires. A Python
// reader, which does not look at a message's age, may get it so much later.
const queueGrace = 5 * time.Second

// pruneGrace is for how much longer than Expiry whoever sent a message looks for
// it in the queue. Its score can be ahead of the server's clock by a second, and
// a round trip on a bad day takes as long.
const pruneGrace = 3 * time.Second

// In milliseconds.

func (c *Core) queueTTL() int64 { return (c.options.Expiry + queueGrace).Milliseconds() }
func (c *Core) groupTTL() int64 { return max(1, c.options.GroupExpiry.Milliseconds()) }

func formatInt(n int64) string { return strconv.FormatInt(n, 10) }

// pythonAdmits reports whether a name that is not valid here may be a channel's
// in Python, which takes letters and digits of any script after the '!', and
// digits of any before it.
func pythonAdmits(name string) bool {
	if !utf8.ValidString(name) || utf8.RuneCountInString(name) > layer.MaxNameLength {
		return false
	}
	before, after, _ := strings.Cut(name, "!")
	odd := func(letters func(rune) bool) func(rune) bool {
		return func(r rune) bool {
			return !letters(r) && !unicode.IsDigit(r) && !strings.ContainsRune("-_.", r)
		}
	}
	ascii := func(r rune) bool { return r <= unicode.MaxASCII && unicode.IsLetter(r) }
	return before != "" && !strings.ContainsFunc(before, odd(ascii)) && !strings.ContainsFunc(after, odd(unicode.IsLetter))
}
