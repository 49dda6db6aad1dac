package chatserver

import (
	"context"
	"log/slog"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/channellayer/channellayer/internal/redistest"
	"github.com/channellayer/channellayer/redislayer"
)

// openHouseAt opens a server on a layer of its own, as a process would. This
// is in real time.
func openHouseAt(t *testing.T, redis *redistest.Server) *house {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	bus, err := redislayer.Open(ctx, redis.URL(), redislayer.Options{
		GapMessage: GapMessage,
		Logger:     slog.New(slog.NewTextHandler(t.Output(), nil)),
		GapSpread:  10 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { bus.Close() })
	h := openHouseOn(t, bus, Options{DrainTime: time.Millisecond})
	h.patience = 20 * time.Second
	return h
}

func TestTwoServersAreOneChat(t *testing.T) {
	redis := redistest.Start(t, redistest.Config{})
	north, south := openHouseAt(t, redis), openHouseAt(t, redis)

	ada := north.enter("Ada", "garden")
	ada.next(joinedType)
	grace := south.enter("Grace", "garden")
	if f := ada.next(joinedType); f["name"] != "Grace" || f["id"] != grace.me["id"] {
		t.Errorf("Grace came in at the other server, and Ada was told %v", f)
	}
	grace.next(joinedType)
	if f := grace.next(hereType); f["name"] != "Ada" || f["id"] != ada.me["id"] {
		t.Errorf("Ada was there, at the other server, and Grace was told %v", f)
	}
	elsewhere := south.enter("Linus", "cellar")
	elsewhere.next(joinedType)

	ada.say("hello")
	ada.hears("Ada", "hello")
	grace.hears("Ada", "hello")
	grace.say("good morning")
	grace.hears("Grace", "good morning")
	ada.hears("Grace", "good morning")
	elsewhere.hearsNothing()

	grace.conn.CloseNow()
	if f := ada.next(leftType); f["id"] != grace.me["id"] || f["conn"] != grace.me["conn"] {
		t.Errorf("Grace left the other server, and Ada was told %v", f)
	}
}

// While Redis is away, those at one server still hear each other, and whoever
// speaks is told that others may not have. When it is back, everybody is told
// that something may be missing, and sees who is there.
func TestRedisRestarts(t *testing.T) {
	redis := redistest.Start(t, redistest.Config{})
	north, south := openHouseAt(t, redis), openHouseAt(t, redis)
	ada, grace := north.enter("Ada", "garden"), south.enter("Grace", "garden")
	ada.next(joinedType)
	ada.next(joinedType)
	grace.next(joinedType)
	grace.next(hereType)

	redis.Kill()
	north.untilHealth(http.StatusServiceUnavailable)
	south.untilHealth(http.StatusServiceUnavailable)
	ada.say("is anybody there?")
	ada.hears("Ada", "is anybody there?")
	if f := ada.next(errorType); f["code"] != "maybe-sent" || f["ref"] != "r1" {
		t.Errorf("Redis was away, and Ada got %v, want code maybe-sent and ref r1", f)
	}

	heardAda, heardGrace := ada.listen(), grace.listen()
	redis.RestartEmpty(t)
	// Each server recovers at its own time: one asks who is there while the
	// other cannot answer.
	for _, c := range []struct {
		heard *listener
		other *client
	}{{heardAda, grace}, {heardGrace, ada}} {
		c.heard.until(gapType, "type", gapType)
		c.heard.until("the welcome again", "type", welcomeType, "conn", c.heard.client.me["conn"])
		c.heard.until(c.other.name+" is here", "type", hereType, "conn", c.other.me["conn"])
	}
	north.untilHealth(http.StatusOK)
	south.untilHealth(http.StatusOK)
	ada.say("and now?")
	heardGrace.until("what Ada says", "type", saidType, "text", "and now?")
	grace.say("now I am")
	heardAda.until("what Grace says", "type", saidType, "text", "now I am")
}

// until waits for a frame with these fields, given as key, value, key, value.
func (l *listener) until(what string, fields ...any) {
	c := l.client
	c.t.Helper()
	for deadline := time.Now().Add(c.patience); ; time.Sleep(5 * time.Millisecond) {
		l.mu.Lock()
		got := slices.Clone(l.frames)
		l.mu.Unlock()
		if slices.ContainsFunc(got, func(f frame) bool { return f.has(fields) }) {
			return
		}
		if time.Now().After(deadline) {
			c.t.Fatalf("%s has waited %v for %s, a frame with %v, and got %v", c.name, c.patience, what, fields, got)
		}
	}
}

func (f frame) has(fields []any) bool {
	for i := 0; i < len(fields); i += 2 {
		if f[fields[i].(string)] != fields[i+1] {
			return false
		}
	}
	return true
}

// untilHealth waits for /healthz to answer with this status.
func (h *house) untilHealth(want int) {
	h.t.Helper()
	for deadline := time.Now().Add(h.patience); ; time.Sleep(5 * time.Millisecond) {
		got := h.get("/healthz")
		if got.StatusCode == want {
			return
		}
		if time.Now().After(deadline) {
			h.t.Fatalf("for %v /healthz has not answered %d, last %d: %s", h.patience, want, got.StatusCode, body(h.t, got))
		}
	}
}
