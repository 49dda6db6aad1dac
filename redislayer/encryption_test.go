package redislayer

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func testKey(fill byte) []byte { return bytes.Repeat([]byte{fill}, encryptionKeySize) }

const (
	senderA   = "AAAAAAAAAAAAAAAAAAAA"
	receiverB = "BBBBBBBBBBBBBBBBBBBB"
)

func plainEntry(sequence uint64) []byte {
	return appendFrame(header{senderA, 3, sequence}.append(nil), kindGroup, "room", []byte{0x80})
}

// openEntry is what the reader does with an entry.
func openEntry(o *opener, entry []byte, to string) ([]byte, error) {
	r := entryReader{rest: entry}
	h, err := r.header()
	if err != nil {
		return nil, err
	}
	return o.open(h, entry[:len(entry)-len(r.rest)], r.rest, to)
}

func TestSealedEntries(t *testing.T) {
	one, two := testKey(1), testKey(2)
	entry := plainEntry(7)
	frames := appendFrame(nil, kindGroup, "room", []byte{0x80})
	sealed := newSealer("bus", [][]byte{one}).seal(entry, receiverB)

	require.False(t, bytes.Contains(sealed, []byte("room")), "the group's name is readable in %q", sealed)
	require.LessOrEqual(t, len(sealed), len(entry)+sealOverhead)
	require.NotEqual(t, sealed, newSealer("bus", [][]byte{one}).seal(entry, receiverB), "two sealings of one entry")

	for name, keys := range map[string][][]byte{"the same key": {one}, "a newer key first": {two, one}} {
		got, err := openEntry(newOpener("bus", keys), sealed, receiverB)
		require.NoError(t, err, name)
		require.Equal(t, frames, got, name)
	}

	altered := func(at int) []byte {
		e := bytes.Clone(sealed)
		e[at] ^= 1
		return e
	}
	keys := [][]byte{one}
	for name, test := range map[string]struct {
		opener *opener
		entry  []byte
		to     string
		want   string
	}{
		"unknown key":         {newOpener("bus", [][]byte{two}), sealed, receiverB, "its key " + hex.EncodeToString([]byte(keyID(one))) + " is not among EncryptionKeys"},
		"no keys":             {nil, sealed, receiverB, errNoKeys.Error()},
		"another process":     {newOpener("bus", keys), sealed, senderA, errNotOurs.Error()},
		"not for a process":   {newOpener("bus", keys), sealed, "", errNotOurs.Error()},
		"another bus":         {newOpener("bus2", keys), sealed, receiverB, errNotOurs.Error()},
		"not sealed":          {newOpener("bus", keys), entry, receiverB, errNotSealed.Error()},
		"no frames":           {newOpener("bus", keys), header{senderA, 3, 7}.append(nil), receiverB, errNotSealed.Error()},
		"plain frame behind":  {newOpener("bus", keys), append(bytes.Clone(sealed), frames...), receiverB, errNotSealed.Error()},
		"sequence altered":    {newOpener("bus", keys), altered(23), receiverB, errNotOurs.Error()},
		"epoch altered":       {newOpener("bus", keys), altered(22), receiverB, errNotOurs.Error()},
		"sender altered":      {newOpener("bus", keys), altered(5), receiverB, errNotOurs.Error()},
		"nonce altered":       {newOpener("bus", keys), altered(36), receiverB, errNotOurs.Error()},
		"tag altered":         {newOpener("bus", keys), altered(len(sealed) - 1), receiverB, errNotOurs.Error()},
		"cut short":           {newOpener("bus", keys), sealed[:len(sealed)-1], receiverB, errTruncated.Error()},
		"shorter than a seal": {newOpener("bus", keys), appendFrame(header{senderA, 3, 7}.append(nil), kindSealed, keyID(one), []byte{1}), receiverB, errNotOurs.Error()},
	} {
		got, err := openEntry(test.opener, test.entry, test.to)
		require.EqualError(t, err, test.want, name)
		require.Nil(t, got, name)
		if test.opener != nil {
			require.Empty(t, test.opener.ciphers, "%s: a cipher is kept for what was not genuine", name)
		}
	}
	for i := range sealed {
		_, err := openEntry(newOpener("bus", keys), altered(i), receiverB)
		require.Error(t, err, "byte %d altered, and it opens", i)
	}
}

func TestSubkeyOfEachBlock(t *testing.T) {
	keys := [][]byte{testKey(1)}
	s, o := newSealer("bus", keys), newOpener("bus", keys)
	for _, sequence := range []uint64{1, nonceBlock - 1, nonceBlock, nonceBlock + 1, 5 * nonceBlock} {
		_, err := openEntry(o, s.seal(plainEntry(sequence), ""), "")
		require.NoError(t, err, "sequence %d", sequence)
		require.Equal(t, sequence/nonceBlock, s.block)
	}
	require.Len(t, o.ciphers, 3, "one for each block")
}

func TestCiphersAreBounded(t *testing.T) {
	keys := [][]byte{testKey(1)}
	o := newOpener("bus", keys)
	for i := range maxCiphers + 10 {
		entry := header{fmt.Sprintf("sender%d", i), 0, 1}.append(nil)
		_, err := openEntry(o, newSealer("bus", keys).seal(entry, ""), "")
		require.NoError(t, err)
	}
	require.LessOrEqual(t, len(o.ciphers), maxCiphers)
}

func TestKeysAreCopied(t *testing.T) {
	key := testKey(1)
	o, err := Options{EncryptionKeys: [][]byte{key}}.withDefaults()
	require.NoError(t, err)
	clear(key)
	require.Equal(t, testKey(1), o.EncryptionKeys[0])
}

// BenchmarkEncryption is what the two processes do for one entry with one
// message of 173 bytes, with and without encryption.
func BenchmarkEncryption(b *testing.B) {
	key := make([]byte, encryptionKeySize)
	rand.Read(key)
	body := []byte(strings.Repeat("x", 173))
	for name, keys := range map[string][][]byte{"plain": nil, "sealed": {key}} {
		b.Run(name+"/write", func(b *testing.B) {
			b.ReportAllocs()
			s := newSealer("bus", keys)
			sequence := uint64(0)
			for b.Loop() {
				sequence++
				entry := header{senderA, 0, sequence}.append(make([]byte, 0, 256))
				s.seal(appendFrame(entry, kindChannel, "specific."+receiverB+"!1", body), "")
			}
		})
		b.Run(name+"/read", func(b *testing.B) {
			b.ReportAllocs()
			entry := header{senderA, 0, 1}.append(make([]byte, 0, 256))
			entry = newSealer("bus", keys).seal(appendFrame(entry, kindChannel, "specific."+receiverB+"!1", body), "")
			o := newOpener("bus", keys)
			for b.Loop() {
				if _, err := openEntry(o, entry, ""); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
