package redisconn

import (
	"errors"
	"fmt"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/channellayer/channellayer/layer"
)

// SetupError is an error of the server's set-up, which does not go away by
// trying again: the server is too old, the user lacks rights, a key holds
// something else. It says what to do.
type SetupError struct{ Err error }

func (e *SetupError) Error() string { return "channelsredis: " + e.Err.Error() }

// Unwrap returns the server's own error, if there is one.
func (e *SetupError) Unwrap() error { return e.Err }

// Explain turns a server's refusal into a SetupError.
func Explain(err error) error {
	var reply redis.Error
	if !errors.As(err, &reply) {
		return err
	}
	text := reply.Error()
	switch {
	case strings.HasPrefix(text, "NOPERM"):
		return &SetupError{fmt.Errorf("the user lacks rights: %w", err)}
	case strings.HasPrefix(text, "NOAUTH"), strings.HasPrefix(text, "WRONGPASS"):
		return &SetupError{fmt.Errorf("check user and password: %w", err)}
	case strings.Contains(text, "WRONGTYPE"):
		return &SetupError{fmt.Errorf("a key under the prefix holds something else; choose another Prefix: %w", err)}
	}
	return err
}

// notRun are the beginnings of the replies by which a server says that it did
// not run a command.
var notRun = []string{"LOADING", "READONLY", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "MOVED", "ASK", "NOSCRIPT", "NOPERM", "NOAUTH", "WRONGPASS", "BUSY", "NOREPLICAS", "MISCONF", "UNBLOCKED"}

// CertainlyNotRun reports whether err is the server's word that it did not run
// the command. Of a script it holds if the script's first write is the one that
// may be refused for want of memory.
func CertainlyNotRun(err error) bool {
	var reply redis.Error
	if !errors.As(err, &reply) {
		return false
	}
	text := reply.Error()
	if strings.HasPrefix(text, "OOM") {
		return true
	}
	own := strings.HasPrefix(text, "NOSCRIPT") || strings.HasPrefix(text, "BUSY ") // no script says these
	if strings.Contains(text, "script") && !own {
		return false // refused to a command in the script: others may have run before
	}
	for _, begin := range notRun {
		if strings.HasPrefix(text, begin) {
			return true
		}
	}
	return false
}

// Unavailable is the error of calls made while the server is away or refuses.
// The cause is told, not wrapped, unless it is a [SetupError]: a connection's
// deadline is not the caller's.
func Unavailable(cause error) error {
	if cause == nil {
		return layer.ErrUnavailable
	}
	var setup *SetupError
	if errors.As(Explain(cause), &setup) {
		return &layer.Error{Op: "channelsredis", Err: fmt.Errorf("%w: %w", layer.ErrUnavailable, setup)}
	}
	return &layer.Error{Op: "channelsredis", Err: fmt.Errorf("%w: %s", layer.ErrUnavailable, cause)}
}
