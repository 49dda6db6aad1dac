package redisconn

import (
	"errors"
	"fmt"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/redislayer/internal/link"
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
	var setup *SetupError
	if !errors.As(err, &reply) || errors.As(err, &setup) {
		return err
	}
	text := reply.Error()
	switch {
	case link.LacksRights(reply):
		return &SetupError{fmt.Errorf("the user lacks rights: %w", err)}
	case strings.HasPrefix(text, "NOAUTH"), strings.HasPrefix(text, "WRONGPASS"):
		return &SetupError{fmt.Errorf("check user and password: %w", err)}
	case strings.Contains(text, "DB index"):
		return &SetupError{fmt.Errorf("the server has no database of that number: %w", err)}
	case strings.Contains(text, "WRONGTYPE"):
		return &SetupError{fmt.Errorf("a key under the prefix holds something else; choose another Prefix: %w", err)}
	}
	return err
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
