package channelsredis

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"hash"
	"slices"
	"sync"
	"time"
)

// fernet encrypts and decrypts messages as channels_redis does with
// SymmetricEncryptionKeys: in tokens of https://github.com/fernet/spec, of
// which the first key makes all and any key opens one. It is written here
// because the Fernet libraries for Go let nobody set the time and the IV, which
// the proof against Python's tokens needs. Methods may be called concurrently.
type fernet struct {
	keys   []*fernetKey
	now    func() time.Time
	random func([]byte) // fills it
}

type fernetKey struct {
	block  cipher.Block
	hashes sync.Pool // of hash.Hash, HMAC-SHA256 with the signing half
}

// A token, before base64: version, seconds since 1970 (8 bytes), IV,
// ciphertext, HMAC of all before.
const (
	fernetVersion = 0x80
	fernetHead    = 1 + 8 + aes.BlockSize
	fernetLeast   = fernetHead + aes.BlockSize + sha256.Size
)

// fernetSkew is how far in the future a token may have been made, where age is
// looked at at all.
const fernetSkew = 60 * time.Second

// newFernet returns nil, which means no encryption, if there are no keys.
func newFernet(keys []string) *fernet {
	if len(keys) == 0 {
		return nil
	}
	f := &fernet{now: time.Now, random: func(b []byte) { rand.Read(b) }}
	for _, key := range keys {
		f.keys = append(f.keys, newFernetKey(key))
	}
	return f
}

func newFernetKey(key string) *fernetKey {
	sum := sha256.Sum256([]byte(key))
	block, err := aes.NewCipher(sum[16:])
	if err != nil {
		panic(err) // 16 bytes are a key
	}
	signing := bytes.Clone(sum[:16])
	return &fernetKey{block: block, hashes: sync.Pool{New: func() any { return hmac.New(sha256.New, signing) }}}
}

// mac appends the HMAC of b to dst.
func (k *fernetKey) mac(dst, b []byte) []byte {
	h := k.hashes.Get().(hash.Hash)
	defer k.hashes.Put(h)
	h.Reset()
	h.Write(b)
	return h.Sum(dst)
}

// seal appends a token of plain to dst.
func (f *fernet) seal(dst, plain []byte) []byte {
	padding := aes.BlockSize - len(plain)%aes.BlockSize
	token := make([]byte, fernetHead, fernetHead+len(plain)+padding+sha256.Size)
	token[0] = fernetVersion
	binary.BigEndian.PutUint64(token[1:], uint64(f.now().Unix()))
	iv := token[9:fernetHead]
	f.random(iv)
	token = append(token, plain...)
	for range padding {
		token = append(token, byte(padding))
	}
	key := f.keys[0]
	body := token[fernetHead:]
	cipher.NewCBCEncrypter(key.block, iv).CryptBlocks(body, body)
	return base64.URLEncoding.AppendEncode(dst, key.mac(token, token))
}

var (
	errNoKeys     = errors.New("it is encrypted, and no SymmetricEncryptionKeys are set here")
	errNoToken    = errors.New("it is not encrypted, and SymmetricEncryptionKeys are set here")
	errWrongKey   = errors.New("it was encrypted with a key that is not among SymmetricEncryptionKeys, or altered")
	errTokenAge   = errors.New("its token has expired")
	errTokenAhead = errors.New("its token was made in the future")
)

// isToken reports whether b looks like a token: the version, and the first two of
// the bytes of the time, which are 0 for long to come.
func isToken(b []byte) bool { return bytes.HasPrefix(b, []byte("gAAA")) }

// open returns what a token was made of. It must not have been made longer ago
// than maxAge, or further in the future than clocks may differ, both in whole
// seconds as Python has it; with a maxAge of 0 its age is not looked at. What is
// no token, and a token of another key, are errors.
func (f *fernet) open(token []byte, maxAge time.Duration) ([]byte, error) {
	b, err := base64.URLEncoding.Strict().AppendDecode(nil, token)
	if err != nil || len(b) < fernetLeast || b[0] != fernetVersion || (len(b)-fernetLeast)%aes.BlockSize != 0 ||
		bytes.ContainsAny(token, "\r\n") { // which base64 would skip
		return nil, undecodable("%w", errNoToken)
	}
	signed, mac := b[:len(b)-sha256.Size], b[len(b)-sha256.Size:]
	i := slices.IndexFunc(f.keys, func(k *fernetKey) bool { return hmac.Equal(k.mac(nil, signed), mac) })
	if i < 0 {
		return nil, undecodable("%w", errWrongKey)
	}
	if err := f.checkAge(binary.BigEndian.Uint64(b[1:]), maxAge); err != nil {
		return nil, undecodable("%w", err)
	}
	body := signed[fernetHead:]
	cipher.NewCBCDecrypter(f.keys[i].block, b[9:fernetHead]).CryptBlocks(body, body)
	padding := body[len(body)-1]
	if padding == 0 || padding > aes.BlockSize || !bytes.Equal(body[len(body)-int(padding):], bytes.Repeat([]byte{padding}, int(padding))) {
		return nil, undecodable("%w", errWrongKey)
	}
	return body[:len(body)-int(padding)], nil
}

func (f *fernet) checkAge(made uint64, maxAge time.Duration) error {
	if maxAge == 0 {
		return nil
	}
	now := uint64(f.now().Unix())
	switch {
	case made > now && made-now > uint64(fernetSkew/time.Second):
		return errTokenAhead
	case made < now && now-made > uint64(maxAge/time.Second):
		return errTokenAge
	}
	return nil
}
