package layer

import (
	"cmp"
	"errors"
	"fmt"
	"path"
	"slices"
	"time"
)

// Defaults and bounds of [Limits]. The defaults, but for MaxMessageSize, are
// those of Django's channels_redis.
const (
	DefaultCapacity       = 100
	DefaultExpiry         = 60 * time.Second
	DefaultGroupExpiry    = 24 * time.Hour
	DefaultMaxMessageSize = 4 << 20

	// MaxSize is the largest MaxMessageSize, in bytes, and the largest size
	// for which NewMessage makes a message at all.
	MaxSize = 1 << 30
)

// Limits bounds what a layer holds and for how long. All backends take it. The
// zero value means the defaults.
type Limits struct {
	// Capacity is how many unread messages a channel holds. Default 100.
	Capacity int

	// CapacityRules override Capacity for the channels whose names they match.
	// The first rule that matches counts.
	CapacityRules []CapacityRule

	// Expiry is how long a message may stay unread. Default 60 s.
	Expiry time.Duration

	// GroupExpiry is how long a membership lasts after the last GroupAdd.
	// Default 24 h.
	GroupExpiry time.Duration

	// MaxMessageSize is the largest message, in bytes of its msgpack encoding
	// ([Message.Size]). Default 4 MiB, at most MaxSize.
	MaxMessageSize int
}

// CapacityRule sets the capacity of the channels whose names match Pattern.
type CapacityRule struct {
	// Pattern is matched against the whole channel name as [path.Match] does:
	// '*' matches any run of characters, '?' any one, '[a-z]' and '[^a-z]'
	// one of a set or none of it.
	Pattern string

	// Capacity is at least 1.
	Capacity int
}

// WithDefaults returns l with its zero fields set to their defaults. The error
// names the first field that is out of bounds. The result shares nothing with
// l.
func (l Limits) WithDefaults() (Limits, error) {
	switch {
	case l.Capacity < 0:
		return l, badLimit("Capacity", "%d is negative", l.Capacity)
	case l.Expiry < 0:
		return l, badLimit("Expiry", "%v is negative", l.Expiry)
	case l.GroupExpiry < 0:
		return l, badLimit("GroupExpiry", "%v is negative", l.GroupExpiry)
	case l.MaxMessageSize < 0:
		return l, badLimit("MaxMessageSize", "%d is negative", l.MaxMessageSize)
	case l.MaxMessageSize > MaxSize:
		return l, badLimit("MaxMessageSize", "%d is above %d", l.MaxMessageSize, MaxSize)
	}
	for i, rule := range l.CapacityRules {
		field := fmt.Sprintf("CapacityRules[%d]", i)
		if rule.Pattern == "" {
			return l, badLimit(field+".Pattern", "it is empty")
		}
		if _, err := path.Match(rule.Pattern, ""); err != nil {
			return l, badLimit(field+".Pattern", "%q: %w", rule.Pattern, err)
		}
		if rule.Capacity < 1 {
			return l, badLimit(field+".Capacity", "%d is below 1", rule.Capacity)
		}
	}
	l.CapacityRules = slices.Clone(l.CapacityRules)
	l.Capacity = cmp.Or(l.Capacity, DefaultCapacity)
	l.Expiry = cmp.Or(l.Expiry, DefaultExpiry)
	l.GroupExpiry = cmp.Or(l.GroupExpiry, DefaultGroupExpiry)
	l.MaxMessageSize = cmp.Or(l.MaxMessageSize, DefaultMaxMessageSize)
	return l, nil
}

// CapacityFor returns the capacity of the channel: that of the first rule that
// matches its name, or Capacity. l is to have its defaults: see WithDefaults.
func (l Limits) CapacityFor(channel string) int {
	for _, rule := range l.CapacityRules {
		if ok, err := path.Match(rule.Pattern, channel); ok && err == nil {
			return rule.Capacity
		}
	}
	return l.Capacity
}

// CheckMessage returns nil if msg may be sent under these limits, which must
// have their defaults: otherwise an error that matches [ErrInvalidMessage] or
// [ErrMessageTooLarge]. For backends.
func (l Limits) CheckMessage(msg Message) error {
	if err := msg.Err(); err != nil {
		return err
	}
	if size := msg.Size(); size > l.MaxMessageSize {
		return &Error{Op: "send", Err: fmt.Errorf("%w: %d bytes, at most %d are allowed", ErrMessageTooLarge, size, l.MaxMessageSize)}
	}
	return nil
}

// ErrInvalidOption is matched by the errors that a layer's constructor returns
// for options and limits that are out of bounds. They name the field.
var ErrInvalidOption = errors.New("layer: invalid option")

func badLimit(field, format string, args ...any) error {
	return &Error{Op: "limits", Name: field, Err: fmt.Errorf("%w: "+format, append([]any{ErrInvalidOption}, args...)...)}
}
