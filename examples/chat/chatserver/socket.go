package chatserver

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"github.com/coder/websocket"

	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/layer/consumer"
)

const (
	// batch is how many messages a writer takes at once.
	batch = 32

	// maxRefused is how many requests in a row a client may send over its rate
	// before it is closed.
	maxRefused = 20

	// joinTime and leaveTime bound what a socket asks of the layer when it
	// begins and ends.
	joinTime  = 5 * time.Second
	leaveTime = 5 * time.Second
)

// socket is one client in one room. Its reader is the goroutine of its HTTP
// handler, its writer another.
type socket struct {
	server  *Server
	conn    *websocket.Conn
	member  *consumer.Consumer
	person  person
	group   string
	listed  bool
	retires time.Time

	ctx    context.Context // ends with the socket
	cancel context.CancelFunc
}

func (s *Server) serveSocket(w http.ResponseWriter, r *http.Request) {
	title, person, err := parseAddress(r.URL.Query())
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if !s.admit() {
		http.Error(w, "the server is going away", http.StatusServiceUnavailable)
		return
	}
	defer s.serving.Done()
	// The default options refuse pages of other origins.
	conn, err := websocket.Accept(w, r, nil)
	if err != nil {
		return // Accept has answered
	}
	conn.SetReadLimit(maxFrame)

	age := s.options.MaxAge
	k := &socket{
		server:  s,
		conn:    conn,
		person:  person,
		group:   roomGroup(title),
		retires: time.Now().Add(age - rand.N(age/5+1)),
	}
	k.ctx, k.cancel = context.WithCancel(context.WithoutCancel(r.Context()))
	defer k.cancel()
	if !s.register(k) {
		k.close(websocket.StatusGoingAway, "the server is going away")
		return
	}
	defer s.unregister(k)
	if err := k.serve(); err != nil {
		s.options.Log.Warn("socket", "room", title, "error", err)
	}
}

// serve lasts as long as the socket. An error is one of the layer.
func (k *socket) serve() (err error) {
	defer k.conn.CloseNow()
	if err := k.join(); err != nil {
		k.close(websocket.StatusTryAgainLater, "the room is out of reach")
		return err
	}
	defer func() { err = errors.Join(err, k.leave()) }()

	var writer sync.WaitGroup
	defer writer.Wait()
	defer k.cancel()
	defer k.conn.CloseNow()
	writer.Go(k.write)
	k.read()
	return nil
}

func (k *socket) join() error {
	ctx, cancel := context.WithTimeout(k.ctx, joinTime)
	defer cancel()
	member, err := consumer.Open(ctx, k.server.bus, consumer.Options{Prefix: "chat"})
	if err != nil {
		return err
	}
	k.member = member
	k.listed = k.server.takeSeat(k.group)
	if err := k.enter(ctx); err != nil {
		return errors.Join(err, k.leave())
	}
	return nil
}

// enter puts the channel into the room, and tells the client, then the others.
func (k *socket) enter(ctx context.Context) error {
	if err := k.member.Join(ctx, k.group); err != nil {
		return err
	}
	bus := k.server.bus
	if err := bus.Send(ctx, k.member.Channel(), k.person.welcome(k.listed)); err != nil {
		return err
	}
	if !k.listed {
		return nil
	}
	if err := bus.GroupSend(ctx, k.group, k.person.message(joinedType)); err != nil {
		return err
	}
	return bus.GroupSend(ctx, k.group, whoMessage(k.member.Channel()))
}

// leave undoes join, and works after the socket's ctx has ended.
func (k *socket) leave() error {
	err := k.member.Close()
	if !k.listed {
		return err
	}
	k.server.leaveSeat(k.group)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(k.ctx), leaveTime)
	defer cancel()
	return errors.Join(err, k.server.bus.GroupSend(ctx, k.group, k.person.message(leftType)))
}

// close ends the socket with a word to its client. It takes seconds if the
// client does not answer; a cancelled k.ctx ends that.
func (k *socket) close(code websocket.StatusCode, reason string) {
	k.conn.Close(code, reason) // fails for a client that is gone, which is fine
}

// read serves the client's requests until the connection ends.
func (k *socket) read() {
	allowed := bucket{tokens: burst, at: time.Now()}
	refused := 0
	for {
		kind, data, err := k.conn.Read(k.ctx)
		if err != nil {
			return // the client went away, or the connection was closed here
		}
		if kind != websocket.MessageText {
			k.close(websocket.StatusUnsupportedData, "send text frames")
			return
		}
		request, err := parseRequest(data)
		var ok bool
		switch {
		case !allowed.take(time.Now()):
			if refused++; refused > maxRefused {
				k.close(websocket.StatusPolicyViolation, "too many messages")
				return
			}
			ok = k.tell(errorMessage("rate", "Not sent: that was too fast. Wait a moment.", request.ref))
		case err != nil:
			refused = 0
			ok = k.tell(errorMessage("invalid", "Not sent: "+err.Error()+".", request.ref))
		case request.kind == "ping":
			refused = 0
			ok = k.tell(pongMessage)
		default:
			refused = 0
			ok = k.say(request)
		}
		if !ok {
			return
		}
	}
}

// say tells the room, or the client why not.
func (k *socket) say(r request) (ok bool) {
	err := k.server.bus.GroupSend(k.ctx, k.group, k.person.said(r.text, r.ref))
	switch {
	case err == nil:
		return true
	case errors.Is(err, layer.ErrMaybeSent):
		return k.tell(errorMessage("maybe-sent", "May not have reached everybody.", r.ref))
	}
	return k.tell(errorMessage("not-sent", "Not sent: the room is out of reach.", r.ref))
}

// tell puts a message for this client alone on its channel, behind what waits
// there. A client for whom there is no room is closed: it asks and does not
// listen.
func (k *socket) tell(msg layer.Message) (ok bool) {
	if err := k.server.bus.Send(k.ctx, k.member.Channel(), msg); err != nil {
		k.close(websocket.StatusPolicyViolation, "too slow")
		return false
	}
	return true
}

// write serves the channel to the client until either ends. From time to time
// it stops receiving, which loses nothing, to see that the client is there, or
// to retire the socket.
func (k *socket) write() {
	// A writer that ends before the reader ends the reader.
	defer k.conn.CloseNow()
	for {
		due := time.Now().Add(k.server.options.PingEvery)
		if due.After(k.retires) {
			due = k.retires
		}
		turn, cancel := context.WithDeadline(k.ctx, due)
		err := k.deliver(turn)
		over := turn.Err() != nil
		cancel()
		switch {
		case k.ctx.Err() != nil:
			return
		case !over:
			if errors.Is(err, layer.ErrClosed) || errors.Is(err, layer.ErrChannelGone) {
				k.close(websocket.StatusInternalError, "the room is out of reach")
			}
			return
		case !time.Now().Before(k.retires):
			k.close(websocket.StatusGoingAway, "this connection is old; open a new one")
			return
		}
		if k.ping() != nil {
			return
		}
	}
}

// deliver writes what arrives until ctx ends, or the layer or the client
// fails.
func (k *socket) deliver(ctx context.Context) error {
	waiting := make([]layer.Message, batch)
	for {
		n, err := k.member.ReceiveBatch(ctx, waiting)
		if err != nil {
			return err
		}
		if err := k.writeAll(waiting[:n]); err != nil {
			return err
		}
		clear(waiting[:n])
	}
}

// writeAll writes the messages within Options.WriteTimeout. A client that
// takes longer cannot keep up, and its connection is closed.
func (k *socket) writeAll(messages []layer.Message) error {
	ctx, cancel := context.WithTimeout(k.ctx, k.server.options.WriteTimeout)
	defer cancel()
	for _, msg := range messages {
		switch msg.Type() {
		case whoType:
			k.answer(ctx, msg.String("reply_to"))
			continue
		case saidType, joinedType, leftType, hereType, welcomeType, errorType, pongType, gapType:
		default:
			continue // the bus is open to other programs; clients are told what they know
		}
		if err := k.writeOne(ctx, msg); err != nil {
			return err
		}
		if msg.Type() == gapType {
			if err := k.lookAround(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

func (k *socket) writeOne(ctx context.Context, msg layer.Message) error {
	frame, err := k.server.frame(msg)
	if err != nil {
		return nil // not of this server's making: JSON has no such number
	}
	if err := k.conn.Write(ctx, websocket.MessageText, frame); err != nil {
		return err
	}
	k.server.written.Add(1)
	return nil
}

// lookAround lets the client's list of people begin anew, as when it came in,
// since what was lost may have said that somebody came or went. It also says
// that this person is here: who asked a moment ago, while this process was
// still out of reach, had no answer. If nobody can be asked, the socket had
// better end: its client comes back, and asks then.
func (k *socket) lookAround(ctx context.Context) error {
	if !k.listed {
		return nil // never knew them all
	}
	if err := k.writeOne(ctx, k.person.welcome(k.listed)); err != nil {
		return err
	}
	if err := k.server.bus.GroupSend(ctx, k.group, k.person.message(hereType)); err != nil {
		return err
	}
	return k.server.bus.GroupSend(ctx, k.group, whoMessage(k.member.Channel()))
}

// answer tells who asks that this person is here. If that fails, whoever asked
// is gone, or has no room for more answers: then it has enough.
func (k *socket) answer(ctx context.Context, channel string) {
	if k.listed && channel != k.member.Channel() {
		k.server.bus.Send(ctx, channel, k.person.message(hereType))
	}
}

func (k *socket) ping() error {
	ctx, cancel := context.WithTimeout(k.ctx, k.server.options.PingEvery)
	defer cancel()
	return k.conn.Ping(ctx)
}
