package chatserver

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/memlayer"
)

// A client that never reads loses its own messages, bounded by its channel's
// capacity, and in the end its socket. Nobody else notices.
func TestStuckClientCostsOnlyItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const capacity, sent, size = 10, 300, 50_000
		h := openHouse(t, Options{WriteTimeout: 3 * time.Second}, layer.Limits{Capacity: capacity})
		ada := h.enter("Ada", "garden")
		ada.conn.SetReadLimit(2 * size)
		heard := ada.listen()
		stuck := h.enter("Stuck", "garden") // reads its welcome, and no more
		synctest.Wait()
		heap := heapInUse()

		var want []string
		began := time.Now()
		for i := range sent {
			text := fmt.Sprint(i)
			want = append(want, text)
			msg := layer.NewMessage(map[string]any{"type": saidType, "text": text, "filler": strings.Repeat("x", size)})
			if err := h.bus.GroupSend(t.Context(), roomGroup("garden"), msg); err != nil {
				t.Fatal(err)
			}
			synctest.Wait() // until Ada has it
		}
		if took := time.Since(began); took > 0 {
			t.Errorf("sending took %v, want that nobody waits for the stuck client", took)
		}
		wantTexts(t, "Ada", heard.texts(), want)

		// Whatever waits for it is in its channel or in its writer's hands.
		stats, _ := layer.ReadStats(h.bus)
		if dropped, least := stats.Dropped[layer.DropFull], uint64(sent-capacity-batch); dropped < least {
			t.Errorf("of %d messages to a stuck client %d were dropped, want at least %d: no more than its capacity of %d and a batch of %d may wait", sent, dropped, least, capacity, batch)
		}
		if grown, most := heapInUse()-heap, int64(4*size*(capacity+batch)); grown > most {
			t.Errorf("the heap grew by %d bytes while %d bytes were sent past a stuck client, want at most %d", grown, sent*size, most)
		}

		if n := h.chat.Stats().Sockets; n != 2 {
			t.Fatalf("%d sockets are open before the timeout, want 2", n)
		}
		time.Sleep(3*time.Second + time.Millisecond)
		synctest.Wait()
		if n := h.chat.Stats().Sockets; n != 1 {
			t.Errorf("%d sockets are open after the write timeout, want Ada's alone", n)
		}
		if n := heard.types()[leftType]; n != 1 {
			t.Errorf("Ada was told %d times that somebody left, want once", n)
		}
		stuck.conn.CloseNow()
	})
}

func heapInUse() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// A client that asks and does not listen is closed once its answers fill its
// channel.
func TestClientThatOnlyAsksIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := openHouse(t, Options{WriteTimeout: time.Hour}, layer.Limits{Capacity: 3})
		ada := h.enter("Ada", "garden")
		began := time.Now()
		// The server is stuck telling her that she joined. Of her pings it can
		// answer three.
		asked := 0
		for ; asked < burst; asked++ {
			if ada.conn.Write(t.Context(), websocket.MessageText, []byte(`{"type":"ping"}`)) != nil {
				break
			}
		}
		synctest.Wait()
		if n := h.chat.Stats().Sockets; n != 0 || asked == burst {
			t.Errorf("%d sockets are open after %d pings whose answers nobody reads, want none", n, asked)
		}
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("the socket ended after %v, want at once, but for the time to close it", took)
		}
	})
}

func TestSocketsRetire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const people, age = 50, 10 * time.Minute
		h := openHouse(t, Options{MaxAge: age}, layer.Limits{})
		began := time.Now()
		var all []*listener
		for range people {
			all = append(all, h.enter("Ada", "garden").listen())
		}
		ends := make(map[time.Duration]bool)
		for _, l := range all {
			<-l.done
			end := l.at.Sub(began)
			ends[end.Truncate(time.Second)] = true
			if l.code != websocket.StatusGoingAway || end < age*4/5 || end > age+time.Second {
				t.Errorf("a socket was closed with %d after %v, want %d after %v to %v", l.code, end, websocket.StatusGoingAway, age*4/5, age)
			}
		}
		if len(ends) < people/2 {
			t.Errorf("%d sockets opened together were closed in only %d different seconds", people, len(ends))
		}
	})
}

func TestDeadPeerIsFound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := openHouse(t, Options{PingEvery: 30 * time.Second}, layer.Limits{})
		alive := h.enter("Ada", "garden").listen()

		// It takes all bytes and answers none.
		dead := h.dial()
		defer dead.Close()
		fmt.Fprint(dead, "GET /socket?name=Dead&room=garden HTTP/1.1\r\nHost: chat.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
			"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
		reader := bufio.NewReader(dead)
		if response, err := http.ReadResponse(reader, nil); err != nil || response.StatusCode != http.StatusSwitchingProtocols {
			t.Fatalf("the handshake gave %v, %v", response, err)
		}
		began := time.Now()
		io.Copy(io.Discard, reader) // until the server closes
		if took := time.Since(began); took < 30*time.Second || took > 61*time.Second {
			t.Errorf("a dead peer was found after %v, want it after one to two times 30s", took)
		}

		time.Sleep(10 * time.Minute)
		select {
		case <-alive.done:
			t.Errorf("a silent client that answers pings was closed with %d", alive.code)
		default:
		}
	})
}

func TestDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const people, spread = 20, 4 * time.Second
		h := openHouse(t, Options{DrainTime: spread}, layer.Limits{})
		var all []*listener
		for range people {
			all = append(all, h.enter("Ada", "garden").listen())
		}
		synctest.Wait()

		began := time.Now()
		drained := make(chan error, 1)
		go func() { drained <- h.chat.Drain(context.Background()) }()
		time.Sleep(spread / 2)
		if n := h.chat.Stats().Sockets; n < people/3 || n > 2*people/3 {
			t.Errorf("half way, %d of %d sockets are open, want about half", n, people)
		}
		if _, status := h.knock(url.Values{"name": {"Late"}, "room": {"garden"}}, nil); status != http.StatusServiceUnavailable {
			t.Errorf("a new socket was answered with %d while draining, want 503", status)
		}
		if r := h.get("/healthz"); r.StatusCode != http.StatusServiceUnavailable || !strings.Contains(body(t, r), `"draining"`) {
			t.Errorf("/healthz gave %d while draining, want 503 and why", r.StatusCode)
		}
		if err := <-drained; err != nil {
			t.Errorf("Drain returned %v, want nil", err)
		}
		if took := time.Since(began); took > spread+time.Second {
			t.Errorf("draining took %v, want about %v", took, spread)
		}
		for _, l := range all {
			<-l.done
			if l.code != websocket.StatusGoingAway {
				t.Errorf("a socket was closed with %d, want %d", l.code, websocket.StatusGoingAway)
			}
		}
	})
}

func TestDrainEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := openHouse(t, Options{DrainTime: time.Second, WriteTimeout: time.Hour}, layer.Limits{})
		h.enter("Stuck", "garden") // does not read, so the closing handshake hangs
		h.enter("Ada", "garden").listen()
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		began := time.Now()
		if err := h.chat.Drain(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Drain returned %v, want that its ctx ended", err)
		}
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("Drain returned after %v, want at the end of its ctx, 2s", took)
		}
		if n := h.chat.Stats().Sockets; n != 0 {
			t.Errorf("%d sockets are open after Drain, want none", n)
		}
	})
}

func TestLayerEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := openHouse(t, Options{}, layer.Limits{})
		heard := h.enter("Ada", "garden").listen()
		h.bus.Close()
		<-heard.done
		if heard.code != websocket.StatusInternalError {
			t.Errorf("the socket was closed with %d when the layer closed, want %d", heard.code, websocket.StatusInternalError)
		}
		if r := h.get("/healthz"); r.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("/healthz gave %d without a layer, want 503", r.StatusCode)
		}
		conn, _ := h.knock(url.Values{"name": {"Late"}, "room": {"garden"}}, nil)
		late := &client{t: t, conn: conn, name: "Late"}
		if code, _ := late.closed(); code != websocket.StatusTryAgainLater {
			t.Errorf("a new socket was closed with %d without a layer, want %d", code, websocket.StatusTryAgainLater)
		}
	})
}

func TestRunServesUntilItsContextEnds(t *testing.T) {
	bus, err := memlayer.New(memlayer.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer bus.Close()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	options := Options{DrainTime: time.Millisecond, Log: slog.New(slog.NewTextHandler(t.Output(), nil))}
	go func() { ended <- Run(ctx, listener, bus, options) }()
	conn, _, err := websocket.Dial(ctx, "ws://"+listener.Addr().String()+"/socket?name=Ada&room=garden", nil)
	if err != nil {
		t.Fatal(err)
	}
	heard := (&client{t: t, conn: conn, name: "Ada"}).listen()
	stop()
	if err := <-ended; err != nil {
		t.Errorf("Run returned %v, want nil", err)
	}
	<-heard.done
	if heard.code != websocket.StatusGoingAway {
		t.Errorf("the socket was closed with %d, want %d", heard.code, websocket.StatusGoingAway)
	}
	http.DefaultClient.CloseIdleConnections()
}

func TestNegativeOptionsAreRefused(t *testing.T) {
	for name, options := range map[string]Options{
		"MaxAge":       {MaxAge: -1},
		"DrainTime":    {DrainTime: -1},
		"PingEvery":    {PingEvery: -1},
		"WriteTimeout": {WriteTimeout: -1},
	} {
		if _, err := New(nil, options); !errors.Is(err, layer.ErrInvalidOption) || !strings.Contains(err.Error(), name) {
			t.Errorf("New with a negative %s returned %v, want ErrInvalidOption that names it", name, err)
		}
	}
}

func TestWhoIsHere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// Two servers on one bus, as with a broker two machines would be.
		h := openHouse(t, Options{}, layer.Limits{})
		other := openHouseOn(t, h.bus, Options{})
		ada := h.enter("Ada", "garden")
		ada.next(joinedType)
		grace := other.enter("Grace", "garden")

		if f := ada.next(joinedType); f["name"] != "Grace" || f["id"] != grace.me["id"] || f["conn"] != grace.me["conn"] {
			t.Errorf("Ada was told %v, want that Grace joined, as in her welcome %v", f, grace.me)
		}
		grace.next(joinedType)
		if f := grace.next(hereType); f["name"] != "Ada" || f["id"] != ada.me["id"] || f["conn"] != ada.me["conn"] {
			t.Errorf("Grace was told %v, want that Ada is here, as in her welcome %v", f, ada.me)
		}
		grace.conn.Close(websocket.StatusNormalClosure, "")
		if f := ada.next(leftType); f["id"] != grace.me["id"] || f["conn"] != grace.me["conn"] {
			t.Errorf("Ada was told %v, want that Grace left", f)
		}
		ada.hearsNothing()
	})
}

// The id is the same for the same key, so that a client that reconnects is
// known again, and it does not show the key, so that nobody else can be it.
func TestIdentityIsTheKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := openHouse(t, Options{}, layer.Limits{})
		seen := make(map[string][]string)
		for _, key := range []string{"a secret of the tab", "a secret of the tab", "another tab's secret", ""} {
			conn, _ := h.knock(url.Values{"name": {"Ada"}, "room": {"garden"}, "key": {key}}, nil)
			c := &client{t: t, conn: conn, name: "Ada"}
			f := c.next(welcomeType)
			id := f["id"].(string)
			if key != "" && strings.Contains(fmt.Sprint(f), key) {
				t.Errorf("%v shows the key %q", f, key)
			}
			seen[id] = append(seen[id], f["conn"].(string))
			c.listen()
		}
		if len(seen) != 3 {
			t.Errorf("4 sockets with 2 equal keys have %d ids, want 3", len(seen))
		}
		for id, conns := range seen {
			if slices.Sort(conns); len(slices.Compact(conns)) != len(conns) {
				t.Errorf("%s has the conns %q, want different ones", id, conns)
			}
		}
	})
}

// In a crowd, people come and go unannounced: what a join costs is bounded.
func TestCrowdIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := openHouse(t, Options{}, layer.Limits{})
		first := h.enter("First", "garden")
		heard := first.listen()
		for i := range seats + 20 {
			c := h.enter(fmt.Sprint(i), "garden")
			if listed, want := c.me["listed"], i+1 < seats; listed != want {
				t.Errorf("number %d was welcomed with listed %v, want %v", i+2, listed, want)
			}
			l := c.listen()
			synctest.Wait()
			if n, most := l.types()[hereType], min(i+1, seats-1); i+1 < seats && n != most {
				t.Errorf("number %d had %d answers, want %d", i+2, n, most)
			} else if i+1 >= seats && n != 0 {
				t.Errorf("number %d, who is not listed, had %d answers, want none", i+2, n)
			}
		}
		if n := heard.types()[joinedType]; n != seats {
			t.Errorf("%d joined messages, want %d", n, seats)
		}
		first.conn.Close(websocket.StatusNormalClosure, "")
		synctest.Wait()
		if next := h.enter("Next", "garden"); next.me["listed"] != true {
			t.Error("a seat became free, and the next who came was not listed")
		} else {
			next.listen()
		}
	})
}
