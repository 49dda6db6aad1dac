package natslayer

import (
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/layer/codec"
)

// distribute takes what comes, in the order in which the server sent it: one
// goroutine for all subscriptions. It ends when the connection has ended and
// all is distributed.
func (l *Layer) distribute() {
	for {
		select {
		case m := <-l.in:
			l.arrived(m)
			continue
		case <-l.ended:
		}
		for {
			select {
			case m := <-l.in:
				l.arrived(m)
			default:
				return
			}
		}
	}
}

func (l *Layer) arrived(m *nats.Msg) {
	what, rest, _ := strings.Cut(strings.TrimPrefix(m.Subject, l.options.Prefix+"."), ".")
	name := untoken(rest)
	switch what {
	case "process":
		tokens := strings.Split(rest, ".")
		if len(tokens) == 3 {
			l.told(tokens[1], untoken(tokens[2]), m)
		}
	case "group":
		l.arrivedForGroup(name, m)
	case "held":
		l.give(name, m)
	case "want":
		l.wanted(name)
	case "all":
		if group, channel, ok := strings.Cut(string(m.Data), " "); ok {
			l.leave(group, channel)
		}
	}
}

// told is told something about a channel.
func (l *Layer) told(what, channel string, m *nats.Msg) {
	switch what {
	case "message":
		if msg, ok := l.decode(channel, m.Data); ok {
			l.put(channel, msg, 0)
		}
	case "undelivered":
		l.mu.Lock()
		l.gone[processOf(channel)] = time.Now()
		l.mu.Unlock()
		l.drop(layer.DropClosed, channel, 1)
	case "answer":
		l.answered(channel, m)
	case "ungiven": // its receiver's process has gone
		l.drop(layer.DropClosed, channel, 1)
	case "add", "discard":
		l.running.Go(func() { l.requested(what, channel, m) })
	}
}

func (l *Layer) arrivedForGroup(group string, m *nats.Msg) {
	normal := untoken(m.Sub.Queue)
	if normal != "" && (slices.Contains(m.Header[served], normal) || !slices.Contains(l.adoptedIn(group), normal)) {
		return
	}
	msg, ok := l.decode(group, m.Data)
	switch {
	case !ok:
	case normal != "":
		l.put(normal, msg, 0)
	default:
		l.deliver(group, msg)
	}
}

// decode counts what cannot be read, or is too large, under the name of the
// channel or group that it was for.
func (l *Layer) decode(name string, body []byte) (layer.Message, bool) {
	msg, err := codec.Decode(body)
	switch {
	case err != nil:
		l.drop(layer.DropUndecodable, name, 1)
	case msg.Size() > l.limits.MaxMessageSize:
		l.drop(layer.DropOversized, name, 1)
	default:
		return msg, true
	}
	return layer.Message{}, false
}

// noResponders reports whether the server answered, since nobody else did.
func noResponders(m *nats.Msg) bool {
	return len(m.Data) == 0 && m.Header.Get("Status") == "503"
}
