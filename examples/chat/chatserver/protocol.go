package chatserver

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/channellayer/channellayer/layer"
)

// What a client may send, in characters but for maxFrame.
const (
	maxTitle = 64
	maxName  = 32
	maxText  = 2000
	maxRef   = 40
	minKey   = 16
	maxKey   = 64
	maxFrame = 16 << 10 // bytes
)

// The messages on the bus. A socket writes them to its client as they are,
// except for whoType, which it answers itself.
const (
	saidType    = "chat.said"    // to the room: from, name, text, at (ms since 1970), ref
	joinedType  = "chat.joined"  // to the room: id, conn, name
	leftType    = "chat.left"    // to the room: id, conn, name
	whoType     = "chat.who"     // to the room: reply_to
	hereType    = "chat.here"    // to one channel, in answer, or to the room after a gap: id, conn, name
	welcomeType = "chat.welcome" // to a socket's own channel: id, conn, name, listed
	errorType   = "chat.error"   // to a socket's own channel: code, text, ref
	pongType    = "chat.pong"    // to a socket's own channel
	gapType     = "chat.gap"     // to every channel of a process, by its layer
)

// person is somebody in a room, on one socket.
type person struct {
	id   string // stays the same when the client reconnects
	conn string // does not
	name string
}

func (p person) message(kind string) layer.Message {
	return layer.NewMessage(map[string]any{"type": kind, "id": p.id, "conn": p.conn, "name": p.name})
}

func (p person) welcome(listed bool) layer.Message {
	return layer.NewMessage(map[string]any{"type": welcomeType, "id": p.id, "conn": p.conn, "name": p.name, "listed": listed})
}

func (p person) said(text, ref string) layer.Message {
	return layer.NewMessage(map[string]any{
		"type": saidType, "from": p.id, "name": p.name, "text": text, "at": time.Now().UnixMilli(), "ref": ref,
	})
}

func whoMessage(replyTo string) layer.Message {
	return layer.NewMessage(map[string]any{"type": whoType, "reply_to": replyTo})
}

func errorMessage(code, text, ref string) layer.Message {
	return layer.NewMessage(map[string]any{"type": errorType, "code": code, "text": text, "ref": ref})
}

// GapMessage tells a socket that messages for it may have been lost with the
// broker. A program whose layer has one should let the layer give this message
// to all its channels then, as redislayer.Options.GapMessage does. The client is
// told, and asks anew who is in the room.
var GapMessage = layer.NewMessage(map[string]any{"type": gapType})

var pongMessage = layer.NewMessage(map[string]any{"type": pongType})

// parseAddress reads who wants to be where: room and name, and the key, which
// is the client's secret and may be missing.
func parseAddress(query url.Values) (title string, p person, err error) {
	title = query.Get("room")
	if err := checkTitle(title); err != nil {
		return "", p, err
	}
	p.name = strings.TrimSpace(query.Get("name"))
	if err := checkLine("name", p.name, maxName); err != nil {
		return "", p, err
	}
	key := query.Get("key")
	switch {
	case key == "":
		key = rand.Text()
	case len(key) < minKey || len(key) > maxKey:
		return "", p, fmt.Errorf("key: it has %d bytes, %d to %d are allowed", len(key), minKey, maxKey)
	}
	// Others see the id and cannot make the key of it, so nobody can leave, or
	// speak, as somebody else who is here.
	sum := sha256.Sum256([]byte(key))
	p.id = base64.RawURLEncoding.EncodeToString(sum[:12])
	p.conn = rand.Text()[:12]
	return title, p, nil
}

func checkTitle(title string) error { return checkLine("room", title, maxTitle) }

func checkLine(what, s string, most int) error {
	switch {
	case !utf8.ValidString(s):
		return fmt.Errorf("%s: it is not UTF-8", what)
	case strings.TrimSpace(s) == "":
		return fmt.Errorf("%s: it is empty", what)
	case utf8.RuneCountInString(s) > most:
		return fmt.Errorf("%s: it has %d characters, at most %d are allowed", what, utf8.RuneCountInString(s), most)
	case strings.ContainsFunc(s, unicode.IsControl):
		return fmt.Errorf("%s: it holds a control character", what)
	}
	return nil
}

// roomGroup is the group of those in a room.
func roomGroup(title string) string { return layer.GroupName("chat." + title) }

// request is a frame from a client: {"type":"say","text":"...","ref":"..."},
// where ref, which may be missing, comes back with the answer; or
// {"type":"ping"}.
type request struct {
	kind, text, ref string
}

// parseRequest returns what it could read, also with an error: a refusal
// should name the ref.
func parseRequest(data []byte) (r request, err error) {
	msg, err := layer.ParseJSON(data)
	if err != nil {
		return r, errors.New("this is not a JSON object")
	}
	if ref := msg.String("ref"); len(ref) <= maxRef {
		r.ref = ref
	}
	r.kind, r.text = msg.Type(), strings.TrimSpace(msg.String("text"))
	switch {
	case r.kind == "ping":
	case r.kind != "say":
		return r, fmt.Errorf("type must be \"say\" or \"ping\", not %.20q", r.kind)
	case r.text == "":
		return r, errors.New("there is no text")
	case utf8.RuneCountInString(r.text) > maxText:
		return r, fmt.Errorf("the text has %d characters, at most %d are allowed", utf8.RuneCountInString(r.text), maxText)
	}
	return r, nil
}

// bucket allows burst requests at once, and rate a second in the long run.
type bucket struct {
	tokens float64
	at     time.Time
}

const (
	burst = 10
	rate  = 5
)

func (b *bucket) take(now time.Time) bool {
	b.tokens = min(burst, b.tokens+now.Sub(b.at).Seconds()*rate)
	b.at = now
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}
