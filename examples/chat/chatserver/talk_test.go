package chatserver

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/coder/websocket"

	"github.com/channellayer/channellayer/layer"
)

func TestMessagesGoBothWaysInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := openHouse(t, Options{}, layer.Limits{})
		ada, grace := h.enterTwo("garden")
		for i, c := range []*client{ada, grace, ada, ada} {
			text := fmt.Sprintf("%d <img src=x onerror=alert(1)> &amp; \u2028 \"quoted\"\nsecond line", i)
			c.say("  " + text + " ")
			for _, other := range []*client{ada, grace} {
				other.hears(c.name, text)
			}
		}
		ada.say("last")
		f := grace.next(saidType)
		if f["from"] != ada.me["id"] || f["ref"] != "r1" || f["at"] != float64(time.Now().UnixMilli()) {
			t.Errorf("Grace got %v, want from %v, ref r1 and the time %d", f, ada.me["id"], time.Now().UnixMilli())
		}
	})
}

func TestRoomsAreApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := openHouse(t, Options{}, layer.Limits{})
		// Titles that differ only in what a group name cannot hold.
		ada, grace := h.enter("Ada", "a/b"), h.enter("Grace", "a b")
		ada.next(joinedType)
		grace.next(joinedType)
		ada.say("hello")
		ada.hears("Ada", "hello")
		grace.hearsNothing()
	})
}

func TestAMessageIsEncodedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const people = 20
		h := openHouse(t, Options{}, layer.Limits{})
		var all []*listener
		for range people {
			all = append(all, h.enter("Ada", "garden").listen())
		}
		synctest.Wait()
		before := h.chat.Stats()
		all[0].client.say("hello")
		synctest.Wait()
		after := h.chat.Stats()
		if n := after.Encoded - before.Encoded; n != 1 {
			t.Errorf("one message to %d sockets was encoded %d times, want once", people, n)
		}
		if n := after.Written - before.Written; n != people {
			t.Errorf("one message to %d sockets made %d frames, want one each", people, n)
		}
		for i, l := range all {
			wantTexts(t, fmt.Sprint("socket ", i), l.texts(), []string{"hello"})
		}
	})
}

func TestRefusedAtTheDoor(t *testing.T) {
	good := func(change func(url.Values)) url.Values {
		q := url.Values{"name": {"Ada"}, "room": {"garden"}, "key": {strings.Repeat("k", minKey)}}
		change(q)
		return q
	}
	for _, c := range []struct {
		name   string
		query  url.Values
		origin string
		want   int
	}{
		{"good", good(func(q url.Values) {}), "", 101},
		{"own origin", good(func(q url.Values) {}), "http://chat.example", 101},
		{"other origin", good(func(q url.Values) {}), "http://evil.example", 403},
		{"own host as a prefix of another", good(func(q url.Values) {}), "http://chat.example.evil.example", 403},
		{"opaque origin", good(func(q url.Values) {}), "null", 403},
		{"no key", good(func(q url.Values) { q.Del("key") }), "", 101},
		{"longest name", good(func(q url.Values) { q.Set("name", strings.Repeat("é", maxName)) }), "", 101},
		{"longest room", good(func(q url.Values) { q.Set("room", strings.Repeat("é", maxTitle)) }), "", 101},
		{"name too long", good(func(q url.Values) { q.Set("name", strings.Repeat("é", maxName+1)) }), "", 400},
		{"room too long", good(func(q url.Values) { q.Set("room", strings.Repeat("x", maxTitle+1)) }), "", 400},
		{"no name", good(func(q url.Values) { q.Del("name") }), "", 400},
		{"blank name", good(func(q url.Values) { q.Set("name", " \u00a0") }), "", 400},
		{"no room", good(func(q url.Values) { q.Del("room") }), "", 400},
		{"name not UTF-8", good(func(q url.Values) { q.Set("name", "\xff") }), "", 400},
		{"name with a line break", good(func(q url.Values) { q.Set("name", "A\nB") }), "", 400},
		{"key too short", good(func(q url.Values) { q.Set("key", "k") }), "", 400},
		{"key too long", good(func(q url.Values) { q.Set("key", strings.Repeat("k", maxKey+1)) }), "", 400},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := openHouse(t, Options{}, layer.Limits{})
				header := http.Header{}
				if c.origin != "" {
					header.Set("Origin", c.origin)
				}
				conn, status := h.knock(c.query, header)
				if status != c.want {
					t.Errorf("with %v and origin %q the answer was %d, want %d", c.query, c.origin, status, c.want)
				}
				if conn != nil {
					conn.CloseNow()
				}
			})
		})
	}
}

func TestBadFramesAreAnswered(t *testing.T) {
	for _, c := range []struct{ name, frame, ref, text string }{
		{"empty", ``, "", "not a JSON object"},
		{"not JSON", `hello`, "", "not a JSON object"},
		{"not an object", `[1]`, "", "not a JSON object"},
		{"cut short", `{"type":"say","text":"`, "", "not a JSON object"},
		{"too deep", `{"a":` + strings.Repeat("[", 5000) + strings.Repeat("]", 5000) + `}`, "", "not a JSON object"},
		{"not UTF-8", "{\"type\":\"say\",\"text\":\"\xff\"}", "", "not a JSON object"},
		{"no type", `{"ref":"7"}`, "7", "type must be"},
		{"type of another kind", `{"type":1,"ref":"7"}`, "7", "type must be"},
		{"a message of the bus", `{"type":"chat.who","reply_to":"x"}`, "", "type must be"},
		{"no text", `{"type":"say","ref":"7"}`, "7", "no text"},
		{"blank text", `{"type":"say","text":" \n "}`, "", "no text"},
		{"text of another kind", `{"type":"say","text":{"a":1}}`, "", "no text"},
		{"text too long", `{"type":"say","text":"` + strings.Repeat("é", maxText+1) + `"}`, "", "2001 characters"},
		{"ref too long", `{"type":"say","ref":"` + strings.Repeat("r", maxRef+1) + `"}`, "", "no text"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := openHouse(t, Options{}, layer.Limits{})
				ada, grace := h.enterTwo("garden")
				ada.send(c.frame)
				f := ada.next(errorType)
				if f["code"] != "invalid" || f["ref"] != c.ref || !strings.Contains(f["text"].(string), c.text) {
					t.Errorf("sent %.60q, got %v, want code invalid, ref %q and a text with %q", c.frame, f, c.ref, c.text)
				}
				grace.hearsNothing()
				ada.say("still here")
				grace.hears("Ada", "still here")
			})
		})
	}
}

func TestLongestTextIsDelivered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := openHouse(t, Options{}, layer.Limits{})
		ada, grace := h.enterTwo("garden")
		grace.conn.SetReadLimit(1 << 20)
		text := strings.Repeat("&", maxText) // grows sixfold in JSON
		ada.say(text)
		grace.hears("Ada", text)
	})
}

func TestFramesThatCloseTheSocket(t *testing.T) {
	for _, c := range []struct {
		name string
		kind websocket.MessageType
		data string
		want websocket.StatusCode
	}{
		{"binary", websocket.MessageBinary, `{"type":"ping"}`, websocket.StatusUnsupportedData},
		{"too large", websocket.MessageText, strings.Repeat(" ", maxFrame+1), websocket.StatusMessageTooBig},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := openHouse(t, Options{}, layer.Limits{})
				ada, grace := h.enterTwo("garden")
				go ada.conn.Write(context.Background(), c.kind, []byte(c.data))
				if code, _ := ada.closed(); code != c.want {
					t.Errorf("the socket was closed with %d, want %d", code, c.want)
				}
				grace.next(leftType)
			})
		})
	}
}

func TestRateIsLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := openHouse(t, Options{}, layer.Limits{})
		ada, grace := h.enterTwo("garden")
		heard := ada.listen()
		others := grace.listen()
		for range burst + 3 {
			ada.say("quick")
		}
		synctest.Wait()
		if n := heard.types()[errorType]; n != 3 {
			t.Errorf("of %d messages at once %d were refused, want 3", burst+3, n)
		}
		time.Sleep(time.Second)
		for range rate + 1 {
			ada.say("quick")
		}
		synctest.Wait()
		if n := heard.types()[errorType]; n != 4 {
			t.Errorf("of %d messages a second later %d were refused, want 1", rate+1, n-3)
		}
		if n := len(others.texts()); n != burst+rate {
			t.Errorf("Grace heard %d messages, want %d", n, burst+rate)
		}
		for range maxRefused {
			ada.say("flood")
		}
		<-heard.done
		if heard.code != websocket.StatusPolicyViolation {
			t.Errorf("a flood closed the socket with %d, want %d", heard.code, websocket.StatusPolicyViolation)
		}
	})
}

// Other programs may write to the bus. What clients do not know, or JSON
// cannot say, does not reach them, and does no harm.
func TestForeignMessagesDoNoHarm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := openHouse(t, Options{}, layer.Limits{})
		ada, _ := h.enterTwo("garden")
		for _, fields := range []map[string]any{
			{"type": "other.news", "secret": "x"},
			{},
			{"type": saidType, "text": math.NaN()},
			{"type": whoType},
			{"type": whoType, "reply_to": "not a channel"},
			{"type": whoType, "reply_to": "gone!1"},
		} {
			if err := h.bus.GroupSend(t.Context(), roomGroup("garden"), layer.NewMessage(fields)); err != nil {
				t.Fatal(err)
			}
		}
		ada.hearsNothing()
	})
}

func TestPage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := openHouse(t, Options{}, layer.Limits{})
		for path, want := range map[string]int{
			"/":                    200,
			"/room/garden":         200,
			"/room/index.html":     200,
			"/room/a%2Fb%20%C3%A9": 200,
			"/room/%FF":            400,
			"/room/" + strings.Repeat("x", maxTitle+1): 400,
			"/room/":          303,
			"/page/chat.js":   200,
			"/page/chat.css":  200,
			"/page/icon.svg":  200,
			"/page/server.go": 404,
			"/elsewhere":      404,
			"/healthz":        200,
		} {
			r := h.get(path)
			if r.StatusCode != want {
				t.Errorf("GET %s gave %d, want %d", path, r.StatusCode, want)
			}
			policy := r.Header.Get("Content-Security-Policy")
			if !strings.HasPrefix(policy, "default-src 'none'; ") || strings.Contains(policy, "unsafe") {
				t.Errorf("GET %s came with the policy %q, want a strict one", path, policy)
			}
		}
		if html := body(t, h.get("/room/garden")); !strings.Contains(html, "<!doctype html>") {
			t.Errorf("the page is %.100q", html)
		}
	})
}

func FuzzParseRequest(f *testing.F) {
	for _, seed := range []string{`{"type":"say","text":"hello","ref":"1"}`, `{"type":"ping"}`, `{"type":"say","text":" "}`, `[]`, "\xff", ``} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := parseRequest(data)
		if len(r.ref) > maxRef {
			t.Errorf("parseRequest(%q) gave a ref of %d bytes, want at most %d", data, len(r.ref), maxRef)
		}
		if err != nil || r.kind == "ping" {
			return
		}
		if n := utf8.RuneCountInString(r.text); n == 0 || n > maxText || !utf8.ValidString(r.text) || r.kind != "say" {
			t.Errorf("parseRequest(%q) accepted %+v", data, r)
		}
	})
}
