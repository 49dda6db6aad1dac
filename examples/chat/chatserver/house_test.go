package chatserver

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"go.uber.org/goleak"

	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/memlayer"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// house is a server on a network in memory, which may be in a synctest bubble:
// there, no test waits for real time. A connection holds nothing: who does not read
// blocks who writes, at once.
type house struct {
	t    *testing.T
	bus  layer.Layer
	chat *Server
	dial func() net.Conn
	http *http.Client

	patience time.Duration // of clients that enter; see client
}

func openHouse(t *testing.T, options Options, limits layer.Limits) *house {
	t.Helper()
	bus, err := memlayer.New(memlayer.Options{Limits: limits})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { bus.Close() })
	return openHouseOn(t, bus, options)
}

func openHouseOn(t *testing.T, bus layer.Layer, options Options) *house {
	t.Helper()
	options.Log = slog.New(slog.NewTextHandler(t.Output(), nil))
	chat, err := New(bus, options)
	if err != nil {
		t.Fatal(err)
	}
	listener := &pipeListener{accept: make(chan net.Conn), closed: make(chan struct{})}
	server := &http.Server{Handler: chat}
	done := make(chan struct{})
	go func() {
		defer close(done)
		server.Serve(listener)
	}()
	h := &house{t: t, bus: bus, chat: chat, dial: listener.dial}
	h.http = &http.Client{Transport: &http.Transport{
		DialContext: func(context.Context, string, string) (net.Conn, error) { return listener.dial(), nil },
	}}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		chat.Drain(ctx)
		h.http.CloseIdleConnections()
		server.Close()
		<-done
	})
	return h
}

// get returns the answer to a plain request.
func (h *house) get(path string) *http.Response {
	r := httptest.NewRecorder()
	h.chat.ServeHTTP(r, httptest.NewRequest("GET", path, nil))
	return r.Result()
}

// knock asks for a socket, and returns it or the HTTP status of the refusal.
func (h *house) knock(query url.Values, header http.Header) (*websocket.Conn, int) {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	conn, response, err := websocket.Dial(ctx, "ws://chat.example/socket?"+query.Encode(),
		&websocket.DialOptions{HTTPClient: h.http, HTTPHeader: header})
	if err != nil {
		if response == nil {
			h.t.Fatalf("dialing with %v: %v", query, err)
		}
		return nil, response.StatusCode
	}
	h.t.Cleanup(func() { conn.CloseNow() })
	return conn, http.StatusSwitchingProtocols
}

// enter opens a socket and returns when the server has welcomed it.
func (h *house) enter(name, room string) *client {
	h.t.Helper()
	conn, status := h.knock(url.Values{"name": {name}, "room": {room}}, nil)
	if conn == nil {
		h.t.Fatalf("%s was refused at room %q with HTTP status %d", name, room, status)
	}
	c := &client{t: h.t, conn: conn, name: name, patience: h.patience}
	c.me = c.next(welcomeType)
	return c
}

// enterTwo lets two people in, and takes from their sockets what that says.
func (h *house) enterTwo(room string) (ada, grace *client) {
	h.t.Helper()
	ada = h.enter("Ada", room)
	ada.next(joinedType)
	grace = h.enter("Grace", room)
	ada.next(joinedType)
	grace.next(joinedType)
	grace.next(hereType)
	return ada, grace
}

type client struct {
	t    *testing.T
	conn *websocket.Conn
	name string
	me   frame // the welcome

	patience time.Duration // how long it waits for a frame; 0 is an hour
}

type frame map[string]any

// read returns the next frame, or the error that ended the socket.
func (c *client) read() (frame, error) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), cmp.Or(c.patience, time.Hour))
	defer cancel()
	kind, data, err := c.conn.Read(ctx)
	if err != nil {
		return nil, err
	}
	var f frame
	if err := json.Unmarshal(data, &f); err != nil || kind != websocket.MessageText {
		c.t.Fatalf("%s got the %v frame %q, want a JSON object as text", c.name, kind, data)
	}
	return f, nil
}

// next returns the next frame, which must be of this type.
func (c *client) next(kind string) frame {
	c.t.Helper()
	f, err := c.read()
	if err != nil {
		c.t.Fatalf("%s waits for %s, and the socket ended: %v", c.name, kind, err)
	}
	if f["type"] != kind {
		c.t.Fatalf("%s got %v, want %s", c.name, f, kind)
	}
	return f
}

// hears takes the next frame, which must be this message.
func (c *client) hears(name, text string) {
	c.t.Helper()
	if f := c.next(saidType); f["name"] != name || f["text"] != text {
		c.t.Fatalf("%s got %v, want that %s said %q", c.name, f, name, text)
	}
}

// hearsNothing checks that nothing waits for the client. It asks for a pong,
// which comes behind whatever does.
func (c *client) hearsNothing() {
	c.t.Helper()
	c.send(`{"type":"ping"}`)
	c.next(pongType)
}

func (c *client) send(frame string) {
	c.t.Helper()
	if err := c.conn.Write(context.Background(), websocket.MessageText, []byte(frame)); err != nil {
		c.t.Fatalf("%s sends %.100s: %v", c.name, frame, err)
	}
}

func (c *client) say(text string) {
	c.t.Helper()
	data, err := json.Marshal(map[string]string{"type": "say", "text": text, "ref": "r1"})
	if err != nil {
		c.t.Fatal(err)
	}
	c.send(string(data))
}

// closed reads until the socket ends, and returns the server's close code, or
// -1 if it ended without one, and the types of the frames before.
func (c *client) closed() (code websocket.StatusCode, before []string) {
	c.t.Helper()
	for {
		f, err := c.read()
		if err != nil {
			if errors.Is(err, context.DeadlineExceeded) {
				c.t.Fatalf("%s: the server has not closed the socket in time", c.name)
			}
			return websocket.CloseStatus(err), before
		}
		before = append(before, f["type"].(string))
	}
}

// listen reads in the background, until the socket ends.
func (c *client) listen() *listener {
	l := &listener{client: c, done: make(chan struct{})}
	go func() {
		defer close(l.done)
		for {
			f, err := c.read()
			if err != nil {
				l.code, l.at = websocket.CloseStatus(err), time.Now()
				return
			}
			delete(f, "filler") // or the test would hold what the server must not
			l.mu.Lock()
			l.frames = append(l.frames, f)
			l.mu.Unlock()
		}
	}()
	return l
}

type listener struct {
	client *client
	done   chan struct{}
	code   websocket.StatusCode // after done
	at     time.Time            // after done: when the socket ended

	mu     sync.Mutex
	frames []frame
}

// texts returns what was said so far.
func (l *listener) texts() (all []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, f := range l.frames {
		if f["type"] == saidType {
			all = append(all, f["text"].(string))
		}
	}
	return all
}

// types returns how often each type of frame came so far.
func (l *listener) types() map[string]int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := make(map[string]int)
	for _, f := range l.frames {
		n[f["type"].(string)]++
	}
	return n
}

func wantTexts(t *testing.T, who string, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s heard %d messages %.200s, want %d %.200s", who, len(got), fmt.Sprintf("%q", got), len(want), fmt.Sprintf("%q", want))
	}
}

// pipeListener accepts connections within the process.
type pipeListener struct {
	accept chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (l *pipeListener) dial() net.Conn {
	here, there := net.Pipe()
	select {
	case l.accept <- there:
	case <-l.closed:
		here.Close()
	}
	return here
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case conn := <-l.accept:
		return conn, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *pipeListener) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "pipe"} }

func body(t *testing.T, r *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
