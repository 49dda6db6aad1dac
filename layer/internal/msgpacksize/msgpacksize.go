// Package msgpacksize tells how many bytes values take in msgpack, each in its
// smallest form: the size of a message, which package layer computes from its
// values, and package codec from its bytes.
//
// https://github.com/msgpack/msgpack/blob/master/spec.md
package msgpacksize

import "math"

// Int is the size of an integer.
func Int(i int64) int {
	switch {
	case -32 <= i && i <= math.MaxInt8:
		return 1
	case math.MinInt8 <= i && i <= math.MaxUint8:
		return 2
	case math.MinInt16 <= i && i <= math.MaxUint16:
		return 3
	case math.MinInt32 <= i && i <= math.MaxUint32:
		return 5
	}
	return 9
}

// String is the size of a string of n bytes, with its header.
func String(n int) int {
	if n < 32 {
		return 1 + n
	}
	return Bytes(n)
}

// Bytes is the size of n bytes, with their header.
func Bytes(n int) int {
	switch {
	case n <= math.MaxUint8:
		return 2 + n
	case n <= math.MaxUint16:
		return 3 + n
	}
	return 5 + n
}

// Header is the size of the header of a map or array of n elements.
func Header(n int) int {
	switch {
	case n < 16:
		return 1
	case n <= math.MaxUint16:
		return 3
	}
	return 5
}
