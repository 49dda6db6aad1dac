package layer

import (
	"errors"
	"reflect"
	"sync"
)

// memoEntry is one derived encoding of a message. The entries of a message
// form a list that only grows, at its head: there are few.
type memoEntry struct {
	key  any
	next *memoEntry

	once  sync.Once
	bytes []byte
	err   error
}

var errEncodePanicked = errors.New("layer: an earlier call to encode panicked")

// Encoded returns a derived encoding of the message, such as a wire format or
// a WebSocket frame, and computes it once however many goroutines ask: those
// that come while encode runs wait for it. An error is kept as a result is.
// The bytes are shared: nobody may change them. They live as long as the
// message does.
//
// As with [context.Context], key should be a value of an unexported type, so
// that packages cannot meet; it must be comparable. Use few keys for a
// message: looking one up takes time in proportion. encode must not ask for
// the same key of the same message. The zero Message has nowhere to keep the
// result, and computes it for each call.
func (m Message) Encoded(key any, encode func() ([]byte, error)) ([]byte, error) {
	if m.content == nil {
		return encode()
	}
	e, err := m.content.entry(key)
	if err != nil {
		return nil, err
	}
	e.once.Do(func() {
		e.err = errEncodePanicked // replaced unless encode panics
		e.bytes, e.err = encode()
	})
	return e.bytes, e.err
}

// entry finds the entry for key, or adds one.
func (c *content) entry(key any) (*memoEntry, error) {
	var fresh *memoEntry
	for {
		head := c.memo.Load()
		for e := head; e != nil; e = e.next {
			if e.key == key {
				return e, nil
			}
		}
		if fresh == nil {
			if key == nil || !reflect.ValueOf(key).Comparable() {
				return nil, &Error{Op: "encoded", Err: errors.New("layer: the key must be a comparable value")}
			}
			fresh = &memoEntry{key: key}
		}
		fresh.next = head
		if c.memo.CompareAndSwap(head, fresh) {
			return fresh, nil
		}
	}
}
