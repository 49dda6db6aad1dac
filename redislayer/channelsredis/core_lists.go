package channelsredis

import (
	"strings"
	"sync"

	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/layer/codec"
	"github.com/channellayer/channellayer/layer/mailbox"
)

// address is for which channels of this process a message is.
type address struct {
	names []string
	refs  []mailbox.Ref // nil, or for each name; all are this process's then
}

// lists remembers the lists of names that messages to groups came with. One
// stays the same from message to message, byte for byte, as long as the members
// do; for a thousand of them, to read it and to find the mailboxes took more
// than to put the message there.
type lists struct {
	mu    sync.Mutex
	m     map[string]address // by the list's bytes
	bytes int
}

const (
	// maxLists bounds the bytes that the lists have together. With what they
	// stand for, they take up to half as much again.
	maxLists = 8 << 20

	// minList is from how many bytes a list is remembered, that of some six
	// names: a shorter one is read as quickly.
	minList = 512
)

// decodeListed decodes a message that names many channels. It reports false for
// what is to be decoded in the usual way.
func (c *Core) decodeListed(body string) (msg layer.Message, to address, ok bool) {
	if _, is := c.options.SerializerFormat.(MsgPack); !is || len(body) < minList {
		return msg, to, false
	}
	message, list, ok := codec.SplitAddressed(body)
	if !ok || len(list) < minList {
		return msg, to, false
	}
	msg, err := codec.Decode(message)
	if err != nil {
		return msg, to, false
	}
	to, ok = c.lists.get(list)
	if !ok {
		to, ok = c.readList(list)
	}
	return msg, to, ok
}

// readList reads a list, and remembers it if all its names are this process's.
func (c *Core) readList(list string) (to address, ok bool) {
	list = strings.Clone(list) // apart from the message
	names, err := codec.DecodeAddress(list)
	if err != nil {
		return address{}, false
	}
	to = address{names: names}
	refs := make([]mailbox.Ref, len(names))
	for i, name := range names {
		if !c.process.Owns(name) {
			return to, true
		}
		refs[i] = c.process.Mailboxes().Ref(name)
	}
	to.refs = refs
	c.lists.put(list, to)
	return to, true
}

func (l *lists) get(list string) (to address, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	to, ok = l.m[list]
	return to, ok
}

func (l *lists) put(list string, to address) {
	if len(list) > maxLists {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, known := l.m[list]; known { // from another host, just now
		return
	}
	if l.bytes+len(list) > maxLists {
		clear(l.m)
		l.bytes = 0
	}
	l.m[list] = to
	l.bytes += len(list)
}
