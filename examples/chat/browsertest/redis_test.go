package browsertest

import (
	"io"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/channellayer/channellayer/internal/redistest"
)

const gapNote = "The servers lost sight of each other for a moment. What others said then may be missing."

// Two processes on one Redis are one chat, also after Redis came back with
// nothing. No page is reloaded, and no socket lost.
func TestTwoServers(t *testing.T) {
	redis := redistest.Start(t, redistest.Config{})
	north := startServer(t, "127.0.0.1:0", "-redis", redis.URL())
	south := startServer(t, "127.0.0.1:0", "-redis", redis.URL())
	b := startBrowser(t)
	ada, grace := b.open(t, "Ada", north.room("lobby")), b.open(t, "Grace", south.room("lobby"))
	ada.enter()
	grace.enter()
	ada.lists("Ada", "Grace")
	grace.lists("Grace", "Ada")
	ada.say("Hello from the north.")
	grace.sees("Ada", "Hello from the north.")
	grace.say("Hello from the south.")
	ada.sees("Grace", "Hello from the south.")
	for _, w := range []*window{ada, grace} {
		eval[bool](w, `window.sameAsBefore = true`)
	}

	redis.Kill()
	for _, s := range []*server{north, south} {
		s.untilHealth(t, http.StatusServiceUnavailable)
	}
	ada.say("Does anybody hear me?")
	ada.sees("You", "Does anybody hear me?")
	ada.until("she is told that others may not", `document.querySelector(".note.warning")?.textContent.includes("not have reached everybody")`)
	ada.shoot("away-desktop-light")

	redis.RestartEmpty(t)
	for _, w := range []*window{ada, grace} {
		w.until("the note that something may be missing", `[...document.querySelectorAll(".note.warning")].some((e) => e.textContent === `+quote(gapNote)+`)`)
	}
	for _, s := range []*server{north, south} {
		s.untilHealth(t, http.StatusOK)
	}
	ada.say("Do you hear me now?")
	grace.sees("Ada", "Do you hear me now?")
	grace.say("I do.")
	ada.sees("Grace", "I do.")
	// Longer than the page waits before it says that somebody left: whoever did
	// not answer after the gap would be gone from the list.
	time.Sleep(7 * time.Second)
	ada.lists("Ada", "Grace")
	grace.lists("Grace", "Ada")
	for _, w := range []*window{ada, grace} {
		w.shoot("gap-" + w.name + "-desktop-light")
		if !eval[bool](w, `window.sameAsBefore === true`) {
			t.Errorf("%s's page was loaded anew", w.name)
		}
		for _, note := range w.notes() {
			if !slices.Contains([]string{"Grace joined", "May not have reached everybody.", gapNote}, note) {
				t.Errorf("%s's page says %q: it should not have lost its socket, nor anybody", w.name, note)
			}
		}
	}
	if got := grace.messages(); slices.Contains(got, "Does anybody hear me?") {
		t.Errorf("what was said while Redis was away was repeated: Grace sees %q", got)
	}
}

// untilHealth waits for /healthz to answer with this status.
func (s *server) untilHealth(t *testing.T, want int) {
	t.Helper()
	client := http.Client{Transport: &http.Transport{}, Timeout: patience}
	defer client.CloseIdleConnections()
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		response, err := client.Get("http://" + s.address + "/healthz")
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(response.Body)
		response.Body.Close()
		if response.StatusCode == want {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("for %v /healthz has not answered %d, last %d: %s", patience, want, response.StatusCode, body)
		}
	}
}
