package channelsredis

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/layer/process"
)

// bus is what Core and PubSub have in common.
type bus struct {
	options Options // with their defaults
	log     *slog.Logger
	fernet  *fernet                 // nil without encryption
	process *process.Process        // its channels, and what is counted
	owned   []redis.UniversalClient // closed with the layer
	cancel  context.CancelFunc      // ends what runs

	undecodableToldAt atomic.Int64 // in nanoseconds
}

// Clients that all ask for the state of things at once are a load of their own:
// 1,000 channels are told of a gap in a second, and more where they would take
// longer than noticeSpread.
const (
	noticeEach   = time.Millisecond
	noticeSpread = 5 * time.Second
)

// setUp makes the process. What is to be told of that, is in o already.
func (b *bus) setUp(options Options, o process.Options) (err error) {
	b.options, b.log, b.fernet = options, options.Logger, newFernet(options.SymmetricEncryptionKeys)
	if o.Limits, err = options.limits(); err != nil {
		return err
	}
	o.Name = randomHex()
	o.GapMessage, o.GapSpread, o.GapEach = typed(options.OnReconnect), noticeSpread, noticeEach
	b.process, err = process.New(o)
	return err
}

// randomHex is 128 random bits in hexadecimal digits, which channels_redis's
// names are made of.
func randomHex() string {
	var random [16]byte
	rand.Read(random[:])
	return hex.EncodeToString(random[:])
}

// typed is a message of that type, or an empty one if there is none.
func typed(kind string) layer.Message {
	if kind == "" {
		return layer.Message{}
	}
	return layer.NewMessage(map[string]any{"type": kind})
}

// checkSend returns what a send has to fail with before it does anything.
func (b *bus) checkSend(ctx context.Context, msg layer.Message) error {
	err := b.process.CheckSend(ctx, msg)
	if err == nil && !b.options.AllowUntyped {
		err = checkType(msg)
	}
	return err
}

// checkType returns what is wrong with the type of a message for which Django
// has no handler whatever the consumer.
func checkType(msg layer.Message) error {
	if kind := msg.Type(); kind != "" && kind[0] != '.' && kind[0] != '_' {
		return nil
	}
	what := "is missing"
	switch value, has := msg.Get("type"); kind := value.(type) {
	case string:
		what = fmt.Sprintf("%.40q has no handler", kind)
	default:
		if has {
			what = fmt.Sprintf("is no string (%T)", kind)
		}
	}
	return &layer.Error{Op: "send", Name: "type", Err: fmt.Errorf("%w: it %s, and Django closes the connection of a consumer that gets such a message (Options.AllowUntyped)", layer.ErrInvalidMessage, what)}
}

// checkFormat returns what is wrong with a message that does not leave this
// process, if the format cannot hold it: what is refused for others' channels is
// refused for its own.
func (b *bus) checkFormat(msg layer.Message) error {
	if _, is := b.options.SerializerFormat.(MsgPack); is {
		return nil // holds every message
	}
	_, err := b.options.SerializerFormat.Append(nil, msg, nil)
	return layer.NotSent(err)
}

// deserialize decodes a message. Where it cannot be read because it is encrypted,
// the error says so.
func (b *bus) deserialize(body []byte) (msg layer.Message, address []string, err error) {
	msg, address, err = b.options.SerializerFormat.Decode(body)
	if err != nil && b.fernet == nil && isToken(body) {
		err = undecodable("%w", errNoKeys)
	}
	return msg, address, err
}

// closedOr returns that the layer was closed, if it was, and otherwise err.
func (b *bus) closedOr(err error) error {
	if closed := b.process.Check(context.Background()); closed != nil {
		return closed
	}
	return err
}

// undecodableInterval is how often the log is told of messages that cannot be
// read: with a wrong key that is all of them.
const undecodableInterval = 10 * time.Second

// undecodable counts a message that cannot be read. name is that of the channel
// or group that it came for, or "".
func (b *bus) undecodable(name string, err error) {
	now, told := time.Now().UnixNano(), b.undecodableToldAt.Load()
	if now-told > int64(undecodableInterval) && b.undecodableToldAt.CompareAndSwap(told, now) {
		b.log.Warn("a message cannot be read", "name", name, "error", err)
	}
	b.process.Drop(layer.DropUndecodable, name, 1)
}
