package layer

import (
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"
)

// lazy is the part of a message's content that is made when somebody first
// looks.
type lazy struct {
	once   sync.Once
	source iter.Seq2[string, any] // nil once fields is set
	fields dict
}

// NewLazyMessage makes a message whose fields are made when somebody first
// looks: a message that nobody reads, or that is only passed on, costs no more
// than its bytes. It is for backends, which check what comes from the wire and
// keep it; package codec does both for msgpack.
//
// size is what [Message.Size] returns for these fields. fields yields each key
// and value; where a key comes twice, the last counts. It is called once, by
// whichever goroutine looks first while others wait for it, and must not look
// at the message. The message takes over what it yields, unchecked: strings of
// valid UTF-8 and, at any depth, values of the types that Message names. Any
// other type is a mistake of the backend, and panics.
func NewLazyMessage(size int, fields iter.Seq2[string, any]) Message {
	made := &struct {
		content content
		lazy    lazy
	}{
		content: content{size: size},
		lazy:    lazy{source: fields},
	}
	made.content.lazy = &made.lazy
	return Message{&made.content}
}

// usualFields is how many fields there is room for at first. With 4, decoding and
// reading a message of five fields took a fifth longer.
const usualFields = 8

func (l *lazy) get() dict {
	l.once.Do(func() {
		source := l.source
		l.source = nil
		d := make(dict, 0, usualFields)
		for key, v := range source {
			d = append(d, field{key, adopt(v)})
		}
		l.fields = inOrder(d)
	})
	return l.fields
}

// inOrder sorts fields by key and leaves the last of those with the same key.
func inOrder(d dict) dict {
	slices.SortStableFunc(d, func(f, g field) int { return strings.Compare(f.key, g.key) })
	out := d[:0]
	for i := range d {
		if i+1 < len(d) && d[i].key == d[i+1].key {
			continue
		}
		out = append(out, d[i])
	}
	clear(d[len(out):])
	return out
}

// adopt takes over a value as export returns it.
func adopt(v any) any {
	switch v := v.(type) {
	case nil, bool, int64, float64, string:
		return v
	case []byte:
		return blob(v)
	case []any:
		out := list(v)
		for i, e := range out {
			out[i] = adopt(e)
		}
		return out
	case map[string]any:
		out := make(dict, 0, len(v))
		for key, e := range v {
			out = append(out, field{key, adopt(e)})
		}
		sortFields(out)
		return out
	}
	panic(fmt.Sprintf("layer: a lazy message yields %T", v))
}
