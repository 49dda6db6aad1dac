package redislayer

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strconv"
)

// encryptionKeySize is the size of a key, in bytes.
const encryptionKeySize = 32

// keyIDSize is the size of the name that a sealed entry gives its key. It is
// derived from the key, so nobody has to hand out names, or can mix them up.
const keyIDSize = 8

// nonceBlock is how many entries of one process are sealed with one subkey:
// 2^32, which is how many random nonces of 96 bits a key bears (NIST SP
// 800-38D, 8.3). The next entry takes another subkey, so a key never wears out.
const nonceBlock = 1 << 32

// sealOverhead is what sealing adds to an entry, at most: the frame's kind, the
// key's id, the length of the body, nonce and tag.
const sealOverhead = 1 + 1 + keyIDSize + 5 + 12 + 16

func checkKeys(keys [][]byte) error {
	for i, key := range keys {
		field := fmt.Sprintf("EncryptionKeys[%d]", i)
		switch {
		case len(key) != encryptionKeySize:
			return badOption(field, "it has %d bytes, not %d", len(key), encryptionKeySize)
		case bytes.Equal(key, make([]byte, encryptionKeySize)):
			return badOption(field, "it is all zeroes")
		case slices.ContainsFunc(keys[:i], func(k []byte) bool { return bytes.Equal(k, key) }):
			return badOption(field, "it is there twice")
		}
	}
	return nil
}

func cloneKeys(keys [][]byte) [][]byte {
	clones := make([][]byte, len(keys))
	for i, key := range keys {
		clones[i] = bytes.Clone(key)
	}
	return clones
}

// derive makes bytes that only a holder of the secret can make. The inputs,
// which are bounded and valid, cannot fail.
func derive(secret []byte, info string, size int) []byte {
	b, err := hkdf.Key(sha256.New, secret, nil, info, size)
	if err != nil {
		panic(err)
	}
	return b
}

func keyID(secret []byte) string { return string(derive(secret, "channellayer key id", keyIDSize)) }

// subkey makes the cipher for a block of one sender's entries on one bus.
func subkey(secret []byte, prefix string, sender string, block uint64) cipher.AEAD {
	info := "channellayer entry\x00" + prefix + "\x00" + sender + "\x00" + strconv.FormatUint(block, 10)
	b, err := aes.NewCipher(derive(secret, info, 32))
	if err != nil {
		panic(err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(b)
	if err != nil {
		panic(err)
	}
	return aead
}

// sealer seals the entries that this process writes. The session's goroutine
// uses it.
type sealer struct {
	prefix string
	secret []byte
	id     string

	block uint64
	aead  cipher.AEAD // nil before the first entry
}

// newSealer returns nil, which seals nothing, if there are no keys.
func newSealer(prefix string, keys [][]byte) *sealer {
	if len(keys) == 0 {
		return nil
	}
	return &sealer{prefix: prefix, secret: keys[0], id: keyID(keys[0])}
}

// seal encrypts what follows the entry's header. The names of channels and
// groups go inside, so that an entry put elsewhere is still only for those; the
// header and to, the process that a control entry is for, are bound to it.
func (s *sealer) seal(entry []byte, to string) []byte {
	if s == nil {
		return entry
	}
	r := entryReader{rest: entry}
	h, err := r.header()
	if err != nil {
		panic(err) // written by this process just now
	}
	head := entry[:len(entry)-len(r.rest)]
	sealed := append(make([]byte, 0, len(entry)+sealOverhead), head...)
	return s.appendSealed(sealed, h, head, r.rest, to)
}

// sealFrames encrypts frames into one that may follow the header head, also
// beside others.
func (s *sealer) sealFrames(head, frames []byte, to string) []byte {
	if s == nil {
		return frames
	}
	r := entryReader{rest: head}
	h, err := r.header()
	if err != nil {
		panic(err) // written by this process just now
	}
	return s.appendSealed(make([]byte, 0, len(frames)+sealOverhead), h, head, frames, to)
}

func (s *sealer) appendSealed(b []byte, h header, head, frames []byte, to string) []byte {
	if block := h.sequence / nonceBlock; s.aead == nil || block != s.block {
		s.block, s.aead = block, subkey(s.secret, s.prefix, h.sender, block)
	}
	b = appendFrameHeader(b, kindSealed, s.id, len(frames)+s.aead.Overhead())
	return s.aead.Seal(b, nil, frames, associated(head, to))
}

func associated(head []byte, to string) []byte {
	return append(slices.Clip(head), to...)
}

// opener opens the entries that come. The reader's goroutine uses it.
type opener struct {
	prefix  string
	secrets map[string][]byte // by id
	ciphers map[cipherID]cipher.AEAD
}

type cipherID struct {
	key, sender string
	block       uint64
}

// maxCiphers bounds how many senders' ciphers are kept, about 1 KB each.
// Deriving one takes some microseconds.
const maxCiphers = 4096

// newOpener returns nil if there are no keys.
func newOpener(prefix string, keys [][]byte) *opener {
	if len(keys) == 0 {
		return nil
	}
	o := &opener{prefix: prefix, secrets: map[string][]byte{}, ciphers: map[cipherID]cipher.AEAD{}}
	for _, key := range keys {
		o.secrets[keyID(key)] = key
	}
	return o
}

var (
	errNotSealed = errors.New("it is not encrypted, and EncryptionKeys are set here")
	errNoKeys    = errors.New("it is encrypted, and no EncryptionKeys are set here")
	errNotOurs   = errors.New("it was altered, or is meant for another process or bus")
)

// open returns the frames of an entry. Without keys these are what follows the
// header, and with keys what was sealed: nothing else is let through.
func (o *opener) open(h header, head, rest []byte, to string) ([]byte, error) {
	sealed := len(rest) > 0 && kind(rest[0]) == kindSealed
	switch {
	case o == nil && sealed:
		return nil, errNoKeys
	case o == nil:
		return rest, nil
	case !sealed:
		return nil, errNotSealed
	}
	for r := (entryReader{rest: rest}); r.more(); {
		k, _, _, err := r.frameInPlace()
		if err == nil && k != kindSealed {
			err = errNotSealed
		}
		if err != nil {
			return nil, err
		}
	}
	r := entryReader{rest: rest}
	frames, err := o.openFrame(&r, h, head, to)
	for err == nil && r.more() {
		var more []byte
		more, err = o.openFrame(&r, h, head, to)
		frames = append(frames, more...)
	}
	if err != nil {
		return nil, err
	}
	return frames, nil
}

func (o *opener) openFrame(r *entryReader, h header, head []byte, to string) ([]byte, error) {
	_, id, body, err := r.frame()
	if err != nil {
		return nil, err
	}
	secret, ok := o.secrets[id]
	if !ok {
		return nil, fmt.Errorf("its key %.16x is not among EncryptionKeys", id)
	}
	at := cipherID{id, h.sender, h.sequence / nonceBlock}
	aead, known := o.ciphers[at]
	if !known {
		aead = subkey(secret, o.prefix, h.sender, at.block)
	}
	frames, err := aead.Open(nil, nil, body, associated(head, to))
	if err != nil {
		return nil, errNotOurs
	}
	if !known { // only now: what anybody could have written must not fill the map
		if len(o.ciphers) >= maxCiphers {
			clear(o.ciphers)
		}
		o.ciphers[at] = aead
	}
	return frames, nil
}
