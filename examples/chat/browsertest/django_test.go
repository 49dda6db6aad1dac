package browsertest

import (
	"bufio"
	"context"
	"net/url"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/channellayer/channellayer/internal/redistest"
	"github.com/channellayer/channellayer/internal/testneed"

	// As in main_test.go: so that go test sees when what it starts has changed.
	_ "github.com/channellayer/channellayer/redislayer/channelsredis"
)

const djangoPackage = "github.com/channellayer/channellayer/examples/django"

// startDjango starts the program that serves one chat from Django and from Go,
// and returns the addresses of both, each ending in a slash.
func startDjango(t *testing.T, flags ...string) (django, goChat string) {
	t.Helper()
	testneed.Programs(t, "redis-server")
	const packages = "import channels, channels_redis, daphne, django"
	if out, err := exec.Command("/usr/bin/python3", "-c", packages).CombinedOutput(); err != nil {
		testneed.Missing(t, "Django's channels in /usr/bin/python3: "+string(out), "on Debian: apt-get install python3-daphne python3-django-channels python3-channels-redis")
	}
	binary := filepath.Join(t.TempDir(), "django")
	if out, err := exec.Command("go", "build", "-o", binary, djangoPackage).CombinedOutput(); err != nil {
		t.Fatalf("go build %s: %v\n%s", djangoPackage, err, out)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	program := exec.CommandContext(ctx, binary, append([]string{"-addr", "127.0.0.1:0", "-django", "127.0.0.1:0", "-drain", "100ms"}, flags...)...)
	log := &lockedBuffer{}
	program.Stderr = log
	stdout, err := program.StdoutPipe()
	if err == nil {
		err = program.Start()
	}
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	t.Cleanup(func() {
		defer cancel()
		program.Process.Signal(syscall.SIGTERM)
		if err := program.Wait(); err != nil {
			t.Errorf("after SIGTERM the program ended with %v, want exit code 0", err)
		}
		if t.Failed() {
			t.Logf("its log:\n%s", log)
		}
	})
	lines := bufio.NewReader(stdout)
	address := func(name string) string {
		line, err := lines.ReadString('\n')
		address, ok := strings.CutPrefix(strings.TrimSpace(line), name+": ")
		if u, parseErr := url.Parse(address); err != nil || !ok || parseErr != nil || u.Host == "" {
			t.Fatalf("the program printed %q (%v), want %s's address; log:\n%s", line, err, name, log)
		}
		return address
	}
	return address("Django"), address("Go")
}

// enterDjango gives name and room in the form of Django's page, by keyboard,
// and waits until the page is in the room.
func (w *window) enterDjango(room string) {
	w.t.Helper()
	for field, value := range map[string]string{"name": w.name, "room": room} {
		w.do("fill in "+field, chromedp.SetValue(chromedp.CSS("[name="+field+"]"), value))
	}
	w.click("form.enter button")
	w.until("the room", `document.getElementById("composer")`)
	w.connected()
}

// Somebody on Django's page and somebody on Go's are in one room.
func TestDjangoAndGoAreOneChat(t *testing.T) {
	django, goChat := startDjango(t)
	b := startBrowser(t)
	ada := b.open(t, "Ada", django)
	ada.shoot("django-index")
	ada.enterDjango("garden")
	grace := b.open(t, "Grace", goChat+"room/garden")
	grace.enter()
	linus := b.open(t, "Linus", django)
	linus.enterDjango("garden")
	elsewhere := b.open(t, "Edsger", django)
	elsewhere.enterDjango("elsewhere")

	// Those who were there have answered whoever came, in both directions.
	ada.lists("Ada", "Grace", "Linus")
	grace.lists("Grace", "Ada", "Linus")
	linus.lists("Ada", "Grace", "Linus")
	elsewhere.lists("Edsger")

	all := []*window{ada, grace, linus}
	tell := func(from *window, text string) {
		t.Helper()
		from.say(text)
		for _, w := range all {
			name := from.name
			if w == grace && from == grace {
				name = "You" // as Go's page calls oneself
			}
			w.sees(name, text)
		}
	}
	tell(ada, "Hello from Django.")
	tell(grace, "Hello from Go.")
	tell(linus, "Is this one bus? Ça va, שלום")
	const script = `<img src=x onerror="document.title='broken'"></script><script>alert(1)</script>`
	tell(ada, script)
	tell(grace, script+"{{ 7|add:7 }}")
	tell(grace, "That is only text, whatever it looks like.")

	want := ada.messages()
	if len(want) != 6 {
		t.Errorf("Ada sees %d messages, want the 6 that were said: %q", len(want), want)
	}
	for _, w := range all {
		if got := w.messages(); !slices.Equal(got, want) {
			t.Errorf("%s sees\n%q\nand Ada\n%q\nwant the same messages in the same order", w.name, got, want)
		}
		if n := eval[int](w, `document.querySelectorAll("#log img, #log script").length`); n > 0 {
			t.Errorf("%s's page made %d elements of a message's text", w.name, n)
		}
		if title := eval[string](w, "document.title"); strings.Contains(title, "broken") {
			t.Errorf("a message ran a script in %s's page", w.name)
		}
		w.fits(1180)
	}
	if got := elsewhere.messages(); len(got) > 0 {
		t.Errorf("in another room, %q was seen", got)
	}
	for name, w := range map[string]*window{"django": ada, "go": grace} {
		w.shoot(name + "-desktop-light")
		w.look(390, 844, true)
		w.fits(390)
		w.shoot(name + "-mobile-dark")
	}

	linus.do("leave", chromedp.Navigate("about:blank"))
	ada.lists("Ada", "Grace")
	grace.lists("Grace", "Ada") // a few seconds later, as he might have come back
}

// When Redis has come back with nothing, Django's page connects again by itself,
// Go's has never lost its socket, and they hear each other as before.
func TestDjangoAndGoMeetAgain(t *testing.T) {
	redis := redistest.Start(t, redistest.Config{})
	django, goChat := startDjango(t, "-redis", redis.URL())
	b := startBrowser(t)
	ada := b.open(t, "Ada", django)
	ada.enterDjango("garden")
	grace := b.open(t, "Grace", goChat+"room/garden")
	grace.enter()
	ada.say("Before.")
	grace.sees("Ada", "Before.")
	for _, w := range []*window{ada, grace} {
		eval[bool](w, `window.sameAsBefore = true`)
	}

	redis.Kill()
	ada.until("the loss is shown", `document.getElementById("status").dataset.state === "waiting"`)
	ada.shoot("django-away-desktop-light")
	redis.RestartEmpty(t)
	grace.until("the note that something may be missing", `[...document.querySelectorAll(".note.warning")].some((e) => e.textContent === `+quote(gapNote)+`)`)
	ada.connected()
	ada.lists("Ada", "Grace")
	ada.say("Do you hear me?")
	grace.sees("Ada", "Do you hear me?")
	grace.say("I do.")
	ada.sees("Grace", "I do.")
	for _, w := range []*window{ada, grace} {
		if !eval[bool](w, `window.sameAsBefore === true`) {
			t.Errorf("%s's page was loaded anew", w.name)
		}
		w.shoot("again-" + w.name + "-desktop-light")
	}
	grace.lists("Grace", "Ada") // Ada's first socket has not answered
}
