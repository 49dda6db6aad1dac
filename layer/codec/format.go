package codec

import (
	"math"

	"github.com/vmihailenco/msgpack/v5/msgpcode"
)

// kind is what a value on the wire is.
type kind uint8

const (
	kindUnused kind = iota // 0xc1, which no value begins with
	kindNil
	kindBool
	kindUint
	kindInt
	kindFloat32
	kindFloat64
	kindString
	kindBytes
	kindList
	kindMap
	kindExt
)

// format is what the first byte of a value says.
type format struct {
	kind   kind
	follow uint8 // how many bytes of number follow: a value or a length
	number int8  // the number, where none follow
}

// formats has the format for each first byte.
// https://github.com/msgpack/msgpack/blob/master/spec.md
var formats = func() (table [256]format) {
	for c := range 256 {
		switch c := byte(c); {
		case msgpcode.IsFixedNum(c):
			table[c] = format{kindInt, 0, int8(c)}
		case msgpcode.IsFixedMap(c):
			table[c] = format{kindMap, 0, int8(c & msgpcode.FixedMapMask)}
		case msgpcode.IsFixedArray(c):
			table[c] = format{kindList, 0, int8(c & msgpcode.FixedArrayMask)}
		case msgpcode.IsFixedString(c):
			table[c] = format{kindString, 0, int8(c & msgpcode.FixedStrMask)}
		case msgpcode.IsExt(c):
			table[c] = format{kind: kindExt}
		}
	}
	table[msgpcode.Nil] = format{kind: kindNil}
	table[msgpcode.False] = format{kindBool, 0, 0}
	table[msgpcode.True] = format{kindBool, 0, 1}
	table[msgpcode.Float] = format{kind: kindFloat32, follow: 4}
	table[msgpcode.Double] = format{kind: kindFloat64, follow: 8}
	for i, c := range []byte{msgpcode.Uint8, msgpcode.Uint16, msgpcode.Uint32, msgpcode.Uint64} {
		table[c] = format{kind: kindUint, follow: 1 << i}
	}
	for i, c := range []byte{msgpcode.Int8, msgpcode.Int16, msgpcode.Int32, msgpcode.Int64} {
		table[c] = format{kind: kindInt, follow: 1 << i}
	}
	for i, c := range []byte{msgpcode.Str8, msgpcode.Str16, msgpcode.Str32} {
		table[c] = format{kind: kindString, follow: 1 << i}
	}
	for i, c := range []byte{msgpcode.Bin8, msgpcode.Bin16, msgpcode.Bin32} {
		table[c] = format{kind: kindBytes, follow: 1 << i}
	}
	for i, c := range []byte{msgpcode.Array16, msgpcode.Array32} {
		table[c] = format{kind: kindList, follow: 2 << i}
	}
	for i, c := range []byte{msgpcode.Map16, msgpcode.Map32} {
		table[c] = format{kind: kindMap, follow: 2 << i}
	}
	return table
}()

// head is the beginning of a value: all of it but the contents of strings,
// bytes, lists and maps.
type head struct {
	kind   kind
	number uint64 // value, or length; an int as its bits
}

// head reads the beginning of the value at s[off:], and returns where it ends.
// ok is false if s ends before.
func readHead(s string, off int) (h head, end int, ok bool) {
	if off >= len(s) {
		return head{}, off, false
	}
	f := formats[s[off]]
	off++
	if f.follow == 0 {
		return head{f.kind, uint64(f.number)}, off, true
	}
	end = off + int(f.follow)
	if end > len(s) {
		return head{f.kind, 0}, off, false
	}
	var n uint64
	for _, c := range []byte(s[off:end]) {
		n = n<<8 | uint64(c)
	}
	if f.kind == kindInt { // extend the sign
		shift := 64 - 8*f.follow
		n = uint64(int64(n<<shift) >> shift)
	}
	return head{f.kind, n}, end, true
}

func (h head) float() float64 {
	if h.kind == kindFloat32 {
		return float64(math.Float32frombits(uint32(h.number)))
	}
	return math.Float64frombits(h.number)
}
