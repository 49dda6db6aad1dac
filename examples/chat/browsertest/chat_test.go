package browsertest

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

const allConfirmed = `![...document.querySelectorAll(".mine")].some((m) => m.dataset.state !== "said")`

func TestPeopleTalk(t *testing.T) {
	s, b := startServer(t, "127.0.0.1:0"), startBrowser(t)
	ada := b.open(t, "Ada", s.room("Garden café"))
	ada.shootAll("join")
	ada.enter()
	ada.shootAll("alone")
	grace := b.open(t, "Grace", s.room("Garden café"))
	grace.enter()
	other := b.open(t, "Linus", s.room("elsewhere"))
	other.enter()

	ada.lists("Ada", "Grace")
	grace.lists("Grace", "Ada")
	other.lists("Linus")
	if notes := ada.notes(); !slices.Equal(notes, []string{"Grace joined"}) {
		t.Errorf("Ada's notes are %q, want one that Grace joined", notes)
	}

	ada.say("Good morning! Is anybody in the garden?")
	grace.sees("Ada", "Good morning! Is anybody in the garden?")
	grace.say("I am. The figs are ripe.")
	ada.sees("Grace", "I am. The figs are ripe.")
	const script = `<img src=x onerror="document.title='broken'"><script>alert(1)</script>`
	grace.say(script)
	ada.sees("Grace", script)
	grace.say("That is only text, whatever it looks like.")
	ada.sees("Grace", "That is only text, whatever it looks like.")
	ada.say("And this one is long enough to need more than one line, because people sometimes have more to say than fits: a plan for the afternoon, a list of what is ripe, an apology for the snails.")
	ada.say("See you at four.")
	for _, w := range []*window{ada, grace} {
		w.sees(map[*window]string{ada: "You", grace: "Ada"}[w], "See you at four.")
		if n := eval[int](w, `document.querySelectorAll(".log img, .log script").length`); n > 0 {
			t.Errorf("%s's page made %d elements of a message's text", w.name, n)
		}
		if title := eval[string](w, "document.title"); strings.Contains(title, "broken") {
			t.Errorf("a message ran a script in %s's page", w.name)
		}
	}
	if a, g := ada.messages(), grace.messages(); !slices.Equal(a, g) || len(a) != 6 {
		t.Errorf("Ada sees\n%q\nand Grace\n%q\nwant the same 6 messages in the same order", a, g)
	}
	if got := other.messages(); len(got) > 0 {
		t.Errorf("in another room, %q was seen", got)
	}
	ada.until("all is confirmed", allConfirmed)
	ada.shootAll("connected")
	ada.look(390, 844, false)
	ada.click("#people-toggle")
	ada.until("the list has the focus", `document.activeElement.id === "people-close"`)
	ada.shoot("people-mobile-light")
	ada.do("press Escape", chromedp.KeyEvent(kb.Escape))
	ada.until("the list is closed", `document.activeElement.id === "people-toggle" && getComputedStyle(document.getElementById("people-panel")).display === "none"`)
	ada.fits(390)
	ada.namesItsControls()
}

// A name can be changed; the others are told, and nobody seems to leave.
func TestChangeOfName(t *testing.T) {
	s, b := startServer(t, "127.0.0.1:0"), startBrowser(t)
	ada := b.open(t, "Ada", s.room("lobby"))
	ada.enter()
	grace := b.open(t, "Grace", s.room("lobby"))
	grace.enter()
	ada.lists("Ada", "Grace")
	grace.click("#rename")
	grace.until("the name can be typed over", `document.activeElement.id === "name"`)
	grace.do("change the name", chromedp.KeyEvent("Grace Hopper"))
	grace.shoot("rename-desktop-light")
	grace.do("confirm", chromedp.KeyEvent(kb.Enter))
	ada.lists("Ada", "Grace Hopper")
	grace.lists("Grace Hopper", "Ada")
	if notes := ada.notes(); !slices.Equal(notes, []string{"Grace joined", "Grace is now Grace Hopper"}) {
		t.Errorf("Ada's notes are %q, want that Grace joined and that she is now Grace Hopper", notes)
	}
}

// The socket that a reconnection left behind may still answer, with the old
// name, and leave late.
func TestOldSocketsDoNotSpeakForPeople(t *testing.T) {
	s, b := startServer(t, "127.0.0.1:0"), startBrowser(t)
	ada := b.open(t, "Ada", s.room("lobby"))
	got := eval[[]string](ada, `import("/page/people.js").then(({ People }) => {
		const seen = [];
		const people = new People({
			changed: (all) => seen.push(all.map((p) => p.name).join(" and ")),
			note: (text) => seen.push(text.replace(/[\u2068\u2069]/g, "")),
		});
		people.welcome({ id: "a", conn: "a2", name: "Ada Lovelace" });
		people.here({ id: "a", conn: "a1", name: "Ada" });
		people.here({ id: "g", conn: "g1", name: "Grace" });
		people.joined({ id: "g", conn: "g2", name: "Grace Hopper" });
		people.here({ id: "g", conn: "g1", name: "Grace" });
		people.left({ id: "g", conn: "g1", name: "Grace" });
		people.left({ id: "a", conn: "a1", name: "Ada" });
		return seen;
	})`)
	want := []string{
		"Ada Lovelace",
		"Ada Lovelace",
		"Ada Lovelace and Grace",
		"Grace is now Grace Hopper",
		"Ada Lovelace and Grace Hopper",
		"Ada Lovelace and Grace Hopper",
		"Ada Lovelace and Grace Hopper",
	}
	if !slices.Equal(got, want) {
		t.Errorf("the list went through\n%q\nwant\n%q", got, want)
	}
}

func TestLongWordsFit(t *testing.T) {
	s, b := startServer(t, "127.0.0.1:0"), startBrowser(t)
	room := s.room(strings.Repeat("Wonderful", 7))
	ada := b.open(t, "Ada", room)
	ada.enter()
	long := b.open(t, strings.Repeat("W", 32), room)
	long.enter()
	lior := b.open(t, "ליאור", room)
	lior.enter()
	text := strings.Repeat("unbroken", 30)
	long.say(text)
	ada.sees(long.name, text)
	lior.say("שלום לכולם!")
	ada.sees(lior.name, "שלום לכולם!")
	ada.lists("Ada", long.name, lior.name)
	for _, width := range []int{1180, 390, 320} {
		ada.look(int64(width), 700, false)
		ada.fits(width)
		ada.shoot(fmt.Sprint("long-", width))
	}
}

func TestTooFastIsShown(t *testing.T) {
	s, b := startServer(t, "127.0.0.1:0"), startBrowser(t)
	ada := b.open(t, "Ada", s.room("lobby"))
	ada.enter()
	eval[bool](ada, `for (let i = 0; i < 12; i++) {
		document.getElementById("text").value = "quick " + i;
		document.getElementById("composer").requestSubmit();
	}; true`)
	ada.until("the first is said", `document.querySelector(".mine").dataset.state === "said"`)
	ada.until("the last is refused, and says why", `document.querySelector(".mine:last-child .fate")?.textContent.includes("too fast")`)
	ada.shoot("too-fast-desktop-light")
}

func TestLostConnection(t *testing.T) {
	s, b := startServer(t, "127.0.0.1:0"), startBrowser(t)
	ada := b.open(t, "Ada", s.room("lobby"))
	ada.enter()
	grace := b.open(t, "Grace", s.room("lobby"))
	grace.enter()
	ada.say("Before.")
	grace.sees("Ada", "Before.")
	ada.lists("Ada", "Grace")

	s.pause()
	ada.say("Written to a server that hangs.")
	ada.until("the socket has taken it", `document.querySelector(".mine:last-child").dataset.state === "taken"`)
	s.kill()
	for _, w := range []*window{ada, grace} {
		w.until("the loss is shown", `!document.getElementById("lost").hidden`)
	}
	ada.say("Written while the server was away.")
	ada.sees("You", "Written while the server was away.")
	ada.until("what the lost socket took is uncertain", `document.querySelector(".mine:nth-last-child(2)").dataset.state === "uncertain"`)
	ada.until("it says that it waits", `document.querySelector(".mine:last-child").dataset.state === "waiting"`)
	ada.shootAll("lost")

	startServer(t, s.address)
	for _, w := range []*window{ada, grace} {
		w.connected()
		w.until("the loss is over", `document.getElementById("lost").hidden`)
	}
	grace.say("And after.")
	ada.sees("Grace", "And after.")
	ada.until("what waited was sent", `document.querySelectorAll(".mine")[2].dataset.state === "said"`)
	if got := grace.messages(); slices.Contains(got, "Written to a server that hangs.") {
		t.Errorf("the page repeated by itself what may have arrived: Grace sees %q", got)
	}
	ada.shoot("back-desktop-light")
	ada.click(".fate button")
	grace.sees("Ada", "Written to a server that hangs.")
	ada.until("all is confirmed", allConfirmed)
	ada.lists("Ada", "Grace")
}

// A server is replaced as in a deployment: the next one is there, the old one
// drains. Nobody is alarmed.
func TestServerIsReplaced(t *testing.T) {
	old, b := startServer(t, "127.0.0.1:0", "-drain", "1s"), startBrowser(t)
	front := startFront(t, old)
	room := "http://" + front.address() + "/room/lobby"
	ada := b.open(t, "Ada", room)
	ada.enter()
	grace := b.open(t, "Grace", room)
	grace.enter()
	ada.lists("Ada", "Grace")
	// Remembers whether the page ever alarmed.
	eval[bool](ada, `window.alarmed = false;
		new MutationObserver(() => { window.alarmed ||= !document.getElementById("lost").hidden })
			.observe(document.getElementById("lost"), { attributes: true }); true`)

	front.use(startServer(t, "127.0.0.1:0"))
	old.terminate(t)
	for _, w := range []*window{ada, grace} {
		w.until("it is connected anew", `document.querySelector(".note:last-child")?.textContent.startsWith("Reconnected") && document.getElementById("status").dataset.state === "open"`)
	}
	if eval[bool](ada, "window.alarmed") {
		t.Error("the page raised an alarm while its server was replaced, though that was over in a moment")
	}
	ada.say("Still here?")
	grace.sees("Ada", "Still here?")
	grace.say("Yes.")
	ada.sees("Grace", "Yes.")
	for _, w := range []*window{ada, grace} {
		for _, note := range w.notes() {
			if strings.HasSuffix(note, " left") {
				t.Errorf("%s was told %q, though both only reconnected", w.name, note)
			}
		}
	}
}
