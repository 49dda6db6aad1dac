// Package codec turns messages into msgpack and back.
package codec
