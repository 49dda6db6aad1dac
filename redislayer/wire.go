package redislayer

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/channellayer/channellayer/layer"
)

// wireVersion is the first byte of every entry.
const wireVersion = 1

// kind is what a frame is.
type kind byte

const (
	kindChannel kind = 1 // name: a process-specific channel; body: a message
	kindGroup   kind = 2 // name: a group; body: a message
	kindQueue   kind = 3 // name: a normal channel; body: a message
	kindRequest kind = 4 // name: the process to reply to; body: a request
	kindReply   kind = 5 // name: empty; body: a reply
	kindSealed  kind = 6 // name: the id of a key; body: all frames, encrypted
	kindMark    kind = 7 // name: a normal channel; body: the number of a reset
	kindWake    kind = 8 // name: a normal channel with something set aside for the process; body: empty
)

// names reports whether name is fit for a frame of this kind.
func (k kind) names(name string) bool {
	switch k {
	case kindChannel:
		return layer.ValidateChannel(name) == nil && layer.IsProcessSpecific(name)
	case kindQueue, kindMark, kindWake:
		return layer.ValidateChannel(name) == nil && !layer.IsProcessSpecific(name)
	case kindGroup, kindRequest:
		return layer.ValidateGroup(name) == nil
	}
	return true
}

// header begins an entry.
type header struct {
	sender   string // process
	epoch    uint64 // raised by the sender after an unknown outcome
	sequence uint64 // of the sender's entries; makes every entry unlike every other
}

func (h header) append(b []byte) []byte {
	b = append(b, wireVersion)
	b = appendString(b, h.sender)
	b = binary.AppendUvarint(b, h.epoch)
	return binary.AppendUvarint(b, h.sequence)
}

// maxFrameHeader is how much a frame has besides its name and body, at most.
const maxFrameHeader = 1 + 2*binary.MaxVarintLen32

func appendFrame(b []byte, k kind, name string, body []byte) []byte {
	return append(appendFrameHeader(b, k, name, len(body)), body...)
}

func appendFrameHeader(b []byte, k kind, name string, size int) []byte {
	b = append(b, byte(k))
	b = appendString(b, name)
	return binary.AppendUvarint(b, uint64(size))
}

func appendString(b []byte, s string) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}

var errTruncated = errors.New("it ends too soon")

// entryReader reads an entry from bytes that may be anybody's. Names and
// bodies are parts of the entry.
type entryReader struct {
	rest []byte
}

func (r *entryReader) header() (h header, err error) {
	if len(r.rest) == 0 {
		return h, errTruncated
	}
	if v := r.rest[0]; v != wireVersion {
		return h, fmt.Errorf("wire version %d is not known here", v)
	}
	r.rest = r.rest[1:]
	sender, err := r.bytes()
	if err != nil {
		return h, err
	}
	if len(sender) > layer.MaxNameLength {
		return h, fmt.Errorf("its sender's name has %d bytes", len(sender))
	}
	h.sender = string(sender)
	if h.epoch, err = r.uvarint(); err != nil {
		return h, err
	}
	h.sequence, err = r.uvarint()
	return h, err
}

func (r *entryReader) more() bool { return len(r.rest) > 0 }

func (r *entryReader) frame() (k kind, name string, body []byte, err error) {
	k, n, body, err := r.frameInPlace()
	return k, string(n), body, err
}

func (r *entryReader) frameInPlace() (k kind, name, body []byte, err error) {
	if len(r.rest) == 0 {
		return 0, nil, nil, errTruncated
	}
	k = kind(r.rest[0])
	r.rest = r.rest[1:]
	if name, err = r.bytes(); err != nil {
		return 0, nil, nil, err
	}
	body, err = r.bytes()
	return k, name, body, err
}

func (r *entryReader) bytes() ([]byte, error) {
	n, err := r.uvarint()
	if err != nil {
		return nil, err
	}
	if n > uint64(len(r.rest)) {
		return nil, errTruncated
	}
	b := r.rest[:n:n]
	r.rest = r.rest[n:]
	return b, nil
}

func (r *entryReader) uvarint() (uint64, error) {
	v, n := binary.Uvarint(r.rest)
	if n <= 0 {
		return 0, errTruncated
	}
	r.rest = r.rest[n:]
	return v, nil
}
