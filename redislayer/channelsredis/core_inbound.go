package channelsredis

import (
	"encoding/binary"
	"errors"
	"math"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/layer/codec"
	"github.com/channellayer/channellayer/layer/mailbox"
	"github.com/channellayer/channellayer/redislayer/internal/resp"
)

// maxPop is how many messages are taken from a queue at once.
const maxPop = 100

// encode makes what stands in a queue: random bytes, and the message, encrypted
// if there are keys.
func (c *Core) encode(msg layer.Message, address any) ([]byte, error) {
	n := c.options.RandomPrefixLength
	b := make([]byte, n, n+msg.Size()+usualAddress)
	c.random(b)
	if c.fernet == nil {
		return c.options.SerializerFormat.Append(b, msg, address)
	}
	plain, err := c.options.SerializerFormat.Append(nil, msg, address)
	if err != nil {
		return nil, err
	}
	return c.fernet.seal(b, plain), nil
}

// packed returns the channels as they stand in a message of a group send, or nil
// if that is not known of the format.
func (c *Core) packed(channels []string) []byte {
	if _, is := c.options.SerializerFormat.(MsgPack); !is {
		return nil
	}
	encoded, err := MsgPack{}.Append(nil, layer.Message{}, channels)
	if err != nil {
		return nil
	}
	_, list, _ := codec.SplitAddressed(string(encoded))
	return []byte(list)
}

// encodeListed is encode for the channels of a queue. Their list, which can be
// much larger than the message, is not copied.
func (c *Core) encodeListed(msg layer.Message, q queue) (body resp.Pieces, err error) {
	if q.list == nil {
		body[0], err = c.encode(msg, q.channels)
		return body, err
	}
	n := c.options.RandomPrefixLength
	b := make([]byte, n, n+msg.Size()+usualAddress)
	c.random(b)
	var head []byte
	if c.fernet == nil {
		head = b
	}
	plain, err := codec.AppendAddressed(head, msg, "")
	if err != nil {
		return body, err
	}
	plain = plain[:len(plain)-1] // the list comes in place of the empty name
	if c.fernet == nil {
		return resp.Pieces{plain, q.list}, nil
	}
	return resp.Pieces{c.fernet.seal(b, append(plain, q.list...))}, nil
}

// fillRandom fills b with random bytes, which need be no secret.
func fillRandom(b []byte) {
	var word [8]byte
	for i := 0; i < len(b); i += copy(b[i:], word[:]) {
		binary.LittleEndian.PutUint64(word[:], rand.Uint64())
	}
}

// usualAddress is about how many bytes the name of one channel takes.
const usualAddress = 128

var errNoPrefix = errors.New("it is shorter than RandomPrefixLength")

// decode reads what stands in a queue.
func (c *Core) decode(member string) (layer.Message, address, error) {
	n := c.options.RandomPrefixLength
	if len(member) < n {
		return layer.Message{}, address{}, undecodable("%w", errNoPrefix)
	}
	body := member[n:]
	if c.fernet != nil {
		b, err := c.fernet.open([]byte(body), c.options.Expiry+tokenGrace)
		if err != nil {
			return layer.Message{}, address{}, err
		}
		body = string(b)
	}
	if msg, to, ok := c.decodeListed(body); ok {
		return msg, to, nil
	}
	msg, names, err := c.deserialize([]byte(body))
	return msg, address{names: names}, err
}

// tokenGrace is how much longer than Expiry a token may be on its way, as
// channels_redis has it.
const tokenGrace = 10 * time.Second

// read reads one message of a queue. What cannot be read, is too large or has
// expired is dropped and counted. For a process's queue, where channel is "",
// expiry is left to the mailboxes.
func (c *Core) read(w *writer, channel string, e entry) (msg layer.Message, to address, ok bool) {
	if len(e.member) > c.maxEncoded() {
		c.process.Drop(layer.DropOversized, channel, 1)
		return msg, to, false
	}
	msg, to, err := c.decode(e.member)
	switch {
	case errors.Is(err, layer.ErrMessageTooLarge), err == nil && msg.Size() > c.options.MaxMessageSize:
		c.process.Drop(layer.DropOversized, channel, max(1, len(to.names)))
	case err != nil:
		c.undecodable(channel, err)
	case channel != "" && c.age(w, e.score) >= c.options.Expiry:
		c.process.Drop(layer.DropExpired, channel, 1)
	default:
		return msg, to, true
	}
	return msg, to, false
}

// maxEncoded is how many bytes a message can have in a queue, beside the
// channels' names. The worst is a list of false in JSON, encrypted: 7 bytes for one
// of msgpack's, and 4 for 3 of these.
func (c *Core) maxEncoded() int {
	return c.options.RandomPrefixLength + 10*min(c.options.MaxMessageSize, math.MaxInt/16) + addressRoom
}

// addressRoom is for the names of some 400,000 channels of one process.
const addressRoom = 32 << 20

// age is how long ago a message was sent, by the server's clock. Scores of
// Python's messages are of the sender's clock.
func (c *Core) age(w *writer, score string) time.Duration {
	seconds, err := strconv.ParseFloat(score, 64)
	if err != nil {
		return 0
	}
	now := float64(c.now()+w.clock.Load()) / float64(time.Second)
	return time.Duration(max(0, min(now-seconds, maxAgeSeconds)) * float64(time.Second))
}

const maxAgeSeconds = 1 << 32 // below what a Duration holds

// takeOwn puts what was taken from a queue of this process into the mailboxes
// it is for.
func (c *Core) takeOwn(w *writer, _ string, got []entry) (back []entry) {
	for _, e := range got {
		msg, to, ok := c.read(w, "", e)
		if !ok {
			continue
		}
		if len(to.names) == 0 {
			c.undecodable("", errNoAddress)
			continue
		}
		fan := c.process.Mailboxes().Fan(msg, c.age(w, e.score))
		for i, channel := range to.names {
			var ref mailbox.Ref
			if to.refs != nil {
				ref = to.refs[i]
			} else if !c.process.Owns(channel) {
				c.undecodable("", errOtherAddress)
				continue
			}
			c.process.Refused(channel, fan.Put(channel, ref), 1)
		}
	}
	return nil
}

var (
	errNoAddress    = errors.New("channelsredis: the message does not say for which channel it is")
	errOtherAddress = errors.New("channelsredis: the message is for a channel of another process")
)
