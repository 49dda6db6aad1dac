package redislayer

import (
	"cmp"
	"fmt"
	"log/slog"
	"math"
	"time"

	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/layer/process"
)

// Defaults of [Options].
const (
	DefaultPrefix        = "channellayer"
	DefaultInboxCapacity = 100_000
	DefaultInboxBytes    = 64 << 20
	DefaultTimeout       = 2 * time.Second
	DefaultLease         = 30 * time.Second
	DefaultGapSpread     = process.DefaultGapSpread
)

// Options configures a Layer. The zero value means the defaults; a negative
// value is an error that names the field.
type Options struct {
	// Limits bounds what channels hold, and for how long.
	Limits layer.Limits

	// Observer is told of drops, gaps and abandoned channels.
	Observer layer.Observer

	// Prefix begins every key that the layer uses, with ':' after it: layers
	// with the same prefix on the same server share a bus. Letters, digits,
	// '-', '_' and '.'. Default "channellayer". It separates buses, it does
	// not protect them.
	Prefix string

	// InboxCapacity and InboxBytes bound what waits at Redis for this process
	// to read it: messages (default 100,000) and bytes (default 64 MiB). A
	// sender that meets the bound gets [layer.ErrInboxFull]; an inbox with no
	// bytes in it takes a message of any size. All processes on a bus should
	// have the same, since it is the sender who applies it.
	InboxCapacity int
	InboxBytes    int

	// Timeout bounds a round trip to Redis, connecting included, and with it
	// every call but Receive. Default 2 s.
	Timeout time.Duration

	// Lease is how long the process's inbox outlives its last sign of life. It
	// is renewed three times as often. Default 30 s, at least four times
	// Timeout.
	Lease time.Duration

	// EncryptionKeys, if there are any, encrypt all that the layer sends by way
	// of Redis (AES-256-GCM) and let nothing else through: an entry that is
	// not encrypted, or with another key, or was altered, is dropped
	// ([layer.DropUndecodable]). A key is 32 random bytes, such as `openssl
	// rand 32` makes. The first encrypts, all decrypt. To change the key,
	// first append the new one in every process, then make it the first in
	// every process, and remove the old one once what it encrypted has
	// expired. Names of groups and normal channels stay readable at Redis, in
	// the names of keys. Default none.
	EncryptionKeys [][]byte

	// GapMessage, if it has any fields, is given to every channel of this
	// process after a gap ([layer.Observer].Gap), so that whoever reads it can
	// look at the state of things anew. There is room for it even in a full
	// mailbox. One that is still unread when there is another gap is enough.
	// Normal channels do not get it.
	GapMessage layer.Message

	// GapSpread is over how long the channels get the GapMessage, each at a
	// random time: they will all ask for the state of things. Default 5 s.
	GapSpread time.Duration

	// Logger, if set, is told what the layer meets: connections lost and made,
	// inboxes made anew. It is never called for single messages.
	Logger *slog.Logger
}

func (o Options) withDefaults() (Options, error) {
	var err error
	if o.Limits, err = o.Limits.WithDefaults(); err != nil {
		return o, err
	}
	switch {
	case o.InboxCapacity < 0:
		return o, badOption("InboxCapacity", "%d is negative", o.InboxCapacity)
	case o.InboxBytes < 0:
		return o, badOption("InboxBytes", "%d is negative", o.InboxBytes)
	case o.Timeout < 0:
		return o, badOption("Timeout", "%v is negative", o.Timeout)
	case o.Lease < 0:
		return o, badOption("Lease", "%v is negative", o.Lease)
	case o.GapSpread < 0:
		return o, badOption("GapSpread", "%v is negative", o.GapSpread)
	case o.Lease > math.MaxInt64/8:
		return o, badOption("Lease", "%v is too long", o.Lease)
	}
	if err := layer.ValidateGroup(o.Prefix); o.Prefix != "" && err != nil {
		return o, badOption("Prefix", "%w", err)
	}
	if err := checkKeys(o.EncryptionKeys); err != nil {
		return o, err
	}
	o.EncryptionKeys = cloneKeys(o.EncryptionKeys)
	if err := o.Limits.CheckMessage(o.GapMessage); err != nil {
		return o, badOption("GapMessage", "%w", err)
	}
	o.Prefix = cmp.Or(o.Prefix, DefaultPrefix)
	o.InboxCapacity = cmp.Or(o.InboxCapacity, DefaultInboxCapacity)
	o.InboxBytes = cmp.Or(o.InboxBytes, DefaultInboxBytes)
	o.Timeout = cmp.Or(o.Timeout, DefaultTimeout)
	o.Lease = cmp.Or(o.Lease, max(DefaultLease, 4*o.Timeout))
	if o.Lease < 4*o.Timeout {
		return o, badOption("Lease", "%v is below four times the Timeout of %v", o.Lease, o.Timeout)
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o, nil
}

func badOption(field, format string, args ...any) error {
	return &layer.Error{Op: "redislayer options", Name: field,
		Err: fmt.Errorf("%w: "+format, append([]any{layer.ErrInvalidOption}, args...)...)}
}
