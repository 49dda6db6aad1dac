package channelsredis

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/channellayer/channellayer/layer"
)

// Defaults of [Options]. All but the timeout are those of channels_redis.
const (
	DefaultPrefix             = "asgi"
	DefaultExpiry             = 60 * time.Second
	DefaultGroupExpiry        = 24 * time.Hour
	DefaultCapacity           = 100
	DefaultRandomPrefixLength = 12
	DefaultTimeout            = 2 * time.Second
)

// NoRandomPrefix is the [Options].RandomPrefixLength of a bus whose Python side
// sets random_prefix_length to 0.
const NoRandomPrefix = -1

// maxRandomPrefix bounds RandomPrefixLength.
const maxRandomPrefix = 1024

// Options configures a Core or a PubSub. The fields up to RandomPrefixLength
// are settings of channels_redis, under their names there, and must say the
// same in every process on a bus. The zero value means the defaults; a negative
// value is an error that names the field, and so is a duration below a
// millisecond: where Django has 60, it is 60 * time.Second here.
type Options struct {
	// Hosts are the servers of the bus, in the same order as in every other
	// process: which server a name belongs to depends on it. A host is a single
	// server or one found by Sentinel, a *redis.Client made with
	// [redis.NewClient] or [redis.NewFailoverClient]. (channels_redis does not
	// work on a Cluster.) The layer makes connections of its own with the
	// client's settings, but for retries and timeouts, and does not use its
	// pool. The clients stay the caller's to close, after the layer. OpenCore
	// and OpenPubSub make clients of URLs instead.
	//
	// Of an attempt to connect nothing is left after Close, with two exceptions: a
	// Dialer of yours that does not end with its ctx goes on until it returns, when
	// the connection is closed; and a question to sentinels that do not answer ends
	// with the client's own timeouts.
	Hosts []redis.UniversalClient

	// Prefix begins the names of keys. Default "asgi". It separates buses, it
	// does not protect them; and no prefix should begin with another, since
	// flushing deletes all that begins with the prefix.
	Prefix string

	// Expiry is how long a message may stay unread. Default 60 s. PubSub
	// stores no messages at Redis: there it is about those that wait in this
	// process.
	Expiry time.Duration

	// GroupExpiry is how long a membership lasts after the last GroupAdd.
	// Default 24 h.
	GroupExpiry time.Duration

	// Capacity is how many unread messages a channel holds. Default 100. To
	// Core it is also how many wait at Redis for all channels of one process
	// together, as channels_redis counts.
	Capacity int

	// ChannelCapacity overrides Capacity for the channels whose names match.
	// The first rule that matches counts. Patterns are the globs of
	// channels_redis: besides what [layer.CapacityRule] has, "[!a-z]" is one
	// character that is not in the set. There are no regular expressions, which
	// channels_redis takes too.
	ChannelCapacity []layer.CapacityRule

	// SymmetricEncryptionKeys, if there are any, encrypt all messages (Fernet:
	// AES-128-CBC and HMAC-SHA256). The first encrypts, all decrypt; what none
	// decrypts is dropped ([layer.DropUndecodable]). To change the key, append
	// the new one in every process, then make it the first in every process,
	// then remove the old one. PubSub of channels_redis before 4.2.1 takes the
	// setting and sends in the clear all the same. Default none.
	SymmetricEncryptionKeys []string

	// SerializerFormat is how messages are written. Default [MsgPack]. What it
	// cannot hold is refused ([layer.ErrInvalidMessage]) also where the message
	// would not leave this process.
	SerializerFormat Serializer

	// RandomPrefixLength is how many random bytes stand in front of each
	// message at Redis. Default 12; NoRandomPrefix stands for 0, with which
	// Redis takes two equal messages that wait on one channel for one. PubSub
	// has none.
	RandomPrefixLength int

	// OnDisconnect and OnReconnect, if not empty, are types of messages that
	// are given to the channels that NewChannel made: {"type": OnDisconnect}
	// when PubSub loses a server, and {"type": OnReconnect} when it has
	// subscribed there again, or when Core has met a gap
	// ([layer.Observer].Gap): messages may have been lost, and whoever gets it
	// should look at the state of things anew. For that of OnReconnect there is
	// room in a full mailbox; several at a time are one; 1,000 channels are told
	// a second, in random order, or more where that would take longer than five
	// seconds. Receivers on normal channels get neither. Core does not use
	// OnDisconnect: what is sent meanwhile waits at Redis.
	OnDisconnect, OnReconnect string

	// MaxMessageSize is the largest message, in bytes of its msgpack encoding
	// ([layer.Message.Size]). Default 4 MiB.
	MaxMessageSize int

	// AllowUntyped lets messages be sent whose "type" is missing, no string,
	// empty, or begins with '_' or '.'. By default they are refused
	// ([layer.ErrInvalidMessage]): Django closes the connection of every
	// consumer that gets one.
	AllowUntyped bool

	// Timeout bounds every call but Receive, however many round trips it makes;
	// of Core's Flush, each. It also bounds the attempts to connect. Default
	// 2 s.
	Timeout time.Duration

	// Observer is told of drops, gaps and abandoned channels. PubSub tells it of
	// gaps and most drops on one goroutine, which also gives the messages of
	// OnDisconnect and OnReconnect to the channels: a call that blocks holds up
	// those. What happens meanwhile is told in sums afterwards, in any order: one
	// call for each reason and name, up to 10,000 of them, and under the name ""
	// what is dropped on yet other channels; and one gap for each server, from the
	// first loss to the last recovery. Stats counts drops at once, and gaps when
	// they are told.
	Observer layer.Observer

	// Logger, if set, is told of connections that are lost and why others cannot
	// be made, and now and then of messages that cannot be read. It is never
	// called for single messages.
	Logger *slog.Logger
}

// limits are the options that are limits, with their defaults. The error names
// the option.
func (o Options) limits() (layer.Limits, error) {
	limits, err := layer.Limits{
		Capacity: o.Capacity, CapacityRules: globs(o.ChannelCapacity),
		Expiry: o.Expiry, GroupExpiry: o.GroupExpiry, MaxMessageSize: o.MaxMessageSize,
	}.WithDefaults()
	var bad *layer.Error
	if errors.As(err, &bad) {
		bad.Op, bad.Name = "channelsredis options", strings.Replace(bad.Name, "CapacityRules", "ChannelCapacity", 1)
	}
	return limits, err
}

// globs are rules with Python's globs in the words of [path.Match].
func globs(rules []layer.CapacityRule) []layer.CapacityRule {
	rules = slices.Clone(rules)
	for i, rule := range rules {
		rules[i].Pattern = strings.ReplaceAll(rule.Pattern, "[!", "[^")
	}
	return rules
}

func (o Options) withDefaults() (Options, error) {
	limits, err := o.limits()
	if err != nil {
		return o, err
	}
	for _, d := range []struct {
		field string
		value time.Duration
	}{{"Expiry", o.Expiry}, {"GroupExpiry", o.GroupExpiry}, {"Timeout", o.Timeout}} {
		switch {
		case d.value < 0:
			return o, badOption(d.field, "%v is negative", d.value)
		case d.value > 0 && d.value < time.Millisecond:
			// Django's settings are numbers of seconds: 60 is a minute there.
			return o, badOption(d.field, "%v is below 1ms; if seconds are meant, write %d * time.Second", d.value, d.value)
		}
	}
	switch {
	case o.RandomPrefixLength < NoRandomPrefix:
		return o, badOption("RandomPrefixLength", "%d is negative", o.RandomPrefixLength)
	case o.RandomPrefixLength > maxRandomPrefix:
		return o, badOption("RandomPrefixLength", "%d is above %d", o.RandomPrefixLength, maxRandomPrefix)
	case len(o.Hosts) == 0:
		return o, badOption("Hosts", "there is none")
	}
	for i, host := range o.Hosts {
		if _, ok := host.(*redis.Client); !ok {
			return o, badOption(fmt.Sprintf("Hosts[%d]", i), "%T is not supported; use a *redis.Client", host)
		}
	}
	for i, key := range o.SymmetricEncryptionKeys {
		if key == "" {
			return o, badOption(fmt.Sprintf("SymmetricEncryptionKeys[%d]", i), "it is empty")
		}
	}
	if custom, ok := o.SerializerFormat.(CustomSerializer); ok && (custom.Marshal == nil || custom.Unmarshal == nil) {
		return o, badOption("SerializerFormat", "a CustomSerializer needs Marshal and Unmarshal")
	}
	for field, kind := range map[string]string{"OnDisconnect": o.OnDisconnect, "OnReconnect": o.OnReconnect} {
		if err := limits.CheckMessage(typed(kind)); err != nil {
			return o, badOption(field, "%w", err)
		}
	}
	o.Capacity, o.ChannelCapacity = limits.Capacity, limits.CapacityRules
	o.Expiry, o.GroupExpiry, o.MaxMessageSize = limits.Expiry, limits.GroupExpiry, limits.MaxMessageSize
	o.Prefix = cmp.Or(o.Prefix, DefaultPrefix)
	o.RandomPrefixLength = cmp.Or(o.RandomPrefixLength, DefaultRandomPrefixLength)
	o.RandomPrefixLength = max(0, o.RandomPrefixLength)
	o.Timeout = cmp.Or(o.Timeout, DefaultTimeout)
	if o.SerializerFormat == nil {
		o.SerializerFormat = MsgPack{}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o, nil
}

func badOption(field, format string, args ...any) error {
	return &layer.Error{Op: "channelsredis options", Name: field,
		Err: fmt.Errorf("%w: "+format, append([]any{layer.ErrInvalidOption}, args...)...)}
}
