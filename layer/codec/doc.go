// Package codec turns messages into msgpack and back, for backends that have a
// wire. What it writes is what Python's msgpack writes for the same values, and
// what it reads is what Python's msgpack reads, as far as a message may hold it:
// so Go and Django processes can share a bus.
//
// To send, [Encode] gives the bytes of a message, computed once however often
// it is sent. To receive, [Decode] checks bytes that anyone may have written,
// and makes a message whose fields are made when somebody first looks: once in
// a process, and never in one that has no use for the message.
// [AppendAddressed] and [DecodeAddressed] do the same for messages that carry
// the names of the channels they are for, as those of channels_redis do.
//
// All functions may be called concurrently, and none blocks, but for Encode,
// which waits while another goroutine encodes the same message.
//
// # What is read
//
// One map, with nothing after it, of at most [layer.MaxValues] values, nested
// at most [layer.MaxDepth] deep, with keys other than [layer.ReservedKey].
//
//	msgpack             in the message
//	nil, true, false    nil, bool
//	integers            int64; beyond int64 they are refused
//	float 32, float 64  float64
//	str                 string; refused if it is not UTF-8
//	bin                 []byte
//	array               []any
//	map                 map[string]any; keys are str, or bin if they are UTF-8
//	ext                 refused
//
// Each length is compared with the bytes that are there before it is used, so
// that a few bytes cannot claim gigabytes.
//
// # Why not only a library
//
// Writing is left to the encoder of github.com/vmihailenco/msgpack. Reading is
// not: its Unmarshal takes bytes after the message, strings that are not UTF-8
// and keys of any type; it trusts lengths, so that five bytes can end the
// process. Its Decoder's primitives read from an io.Reader, where one sees
// neither how many bytes remain, nor at which one is; a bare walk built of them
// took 1.2 to 1.7 times the CPU time of the one here, which goes over the bytes
// themselves, looks at keys and UTF-8 too, and is a table and a switch.
package codec
