package link

import (
	"errors"
	neturl "net/url"
	"slices"
	"strings"

	"github.com/redis/go-redis/v9"
)

var (
	errScheme   = errors.New("it does not begin with redis://, rediss:// or unix://")
	errPassword = errors.New("it has '/', '?' or '#' before '@': in a user or password write them as %2F, %3F and %23")
)

// ParseURL is [redis.ParseURL] with errors that say what is wrong and do not
// repeat the URL, which may hold a password.
func ParseURL(url string) (*redis.Options, error) {
	scheme, rest, _ := strings.Cut(url, "://")
	if !slices.Contains([]string{"redis", "rediss", "unix"}, strings.ToLower(scheme)) {
		return nil, errScheme
	}
	o, err := redis.ParseURL(url)
	if err == nil {
		return o, nil
	}
	if end := strings.IndexAny(rest, "/?#"); end > 0 && !strings.Contains(rest[:end], "@") && strings.Contains(rest[end:], "@") {
		return nil, errPassword // what the parser took for a port or a database may be a part of it
	}
	var whole *neturl.Error // repeats the URL
	if errors.As(err, &whole) {
		err = whole.Err
	}
	return nil, err
}
