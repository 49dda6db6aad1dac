package browsertest

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/accessibility"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// browser is a chromium with an empty profile. It ends with the test.
type browser struct{ ctx context.Context }

func startBrowser(t *testing.T) *browser {
	t.Helper()
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(chromium),
		chromedp.UserDataDir(t.TempDir()),
		chromedp.Flag("headless", "new"),
		chromedp.NoSandbox,
		chromedp.DisableGPU,
		chromedp.Flag("disable-quic", true),
		chromedp.Flag("disable-component-update", true),
		chromedp.Flag("lang", "en-GB"),
	)
	allocator, stopAllocator := chromedp.NewExecAllocator(context.Background(), options...)
	ctx, _ := chromedp.NewContext(allocator)
	t.Cleanup(func() {
		chromedp.Cancel(ctx) // asks the browser to end, and waits
		stopAllocator()
	})
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("starting %s: %v", chromium, err)
	}
	return &browser{ctx}
}

// window is one window of a person: it shares no storage with the others.
type window struct {
	t    *testing.T
	name string
	ctx  context.Context

	mu       sync.Mutex
	problems []string
}

// open opens a window for somebody at a page. In the end it fails the test if
// the page had a script error or broke its own security policy.
func (b *browser) open(t *testing.T, name, address string) *window {
	t.Helper()
	ctx, cancel := chromedp.NewContext(b.ctx, chromedp.WithNewBrowserContext())
	w := &window{t: t, name: name, ctx: ctx}
	if err := chromedp.Listen(ctx, w.watch); err != nil {
		t.Fatalf("a window for %s: %v", name, err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			w.shoot("failed-" + name)
		}
		cancel()
		w.mu.Lock()
		defer w.mu.Unlock()
		for _, problem := range w.problems {
			t.Errorf("%s's page: %s", name, problem)
		}
	})
	w.do("open "+address, chromedp.EmulateViewport(1180, 760), chromedp.Navigate(address))
	return w
}

// watch notes what should not happen in the page. That a socket or a request
// fails is no fault of the page.
func (w *window) watch(event any) {
	var problem string
	switch event := event.(type) {
	case *runtime.EventExceptionThrown:
		problem = fmt.Sprintf("%+v %+v", event.ExceptionDetails, event.ExceptionDetails.Exception)
	case *log.EventEntryAdded:
		if event.Entry.Source != log.EntrySourceNetwork {
			problem = event.Entry.Text
		}
	case *page.EventJavascriptDialogOpening:
		problem = "it opened a dialog: " + event.Message
	}
	if problem == "" || strings.Contains(problem, "WebSocket connection to") {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.problems = append(w.problems, problem)
}

func (w *window) do(what string, actions ...chromedp.Action[chromedp.Void]) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.ctx, patience)
	defer cancel()
	if err := chromedp.Do(ctx, actions...); err != nil {
		w.t.Fatalf("%s: %s: %v", w.name, what, err)
	}
}

// eval returns what a JavaScript expression is in the page, or what the promise
// it gives comes to.
func eval[T any](w *window, expression string) T {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.ctx, patience)
	defer cancel()
	value, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		w.t.Fatalf("%s: evaluating %s: %v", w.name, expression, err)
	}
	return value
}

// until waits for a JavaScript expression to be true.
func (w *window) until(what, expression string) {
	w.t.Helper()
	deadline := time.Now().Add(patience)
	for !eval[bool](w, "Boolean("+expression+")") {
		if time.Now().After(deadline) {
			w.t.Fatalf("%s has waited %v for: %s\nit is not true that %s\nthe page shows:\n%s", w.name, patience, what, expression, w.text())
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func (w *window) click(selector string) {
	w.t.Helper()
	w.do("click "+selector, chromedp.Click(chromedp.CSS(selector)))
}

func (w *window) text() string { return eval[string](w, "document.body.innerText") }

// enter gives the name in the dialog, by keyboard, and waits until the page is
// in the room.
func (w *window) enter() {
	w.t.Helper()
	w.until("the dialog", `document.activeElement === document.getElementById("name")`)
	w.do("type a name", chromedp.KeyEvent(w.name), chromedp.KeyEvent(kb.Enter))
	w.connected()
}

func (w *window) connected() {
	w.t.Helper()
	w.until("connection", `document.getElementById("status").dataset.state === "open"`)
}

// say writes a message and sends it, by keyboard.
func (w *window) say(text string) {
	w.t.Helper()
	w.until("the cursor is in the message", `document.activeElement === document.getElementById("text")`)
	w.do("write", chromedp.KeyEvent(text), chromedp.KeyEvent(kb.Enter))
}

// sees waits for a message of somebody with exactly this text.
func (w *window) sees(from, text string) {
	w.t.Helper()
	w.until(fmt.Sprintf("%s's message %q", from, text), fmt.Sprintf(
		`[...document.querySelectorAll(".message")].some((m) => m.querySelector(".name").textContent === %s && m.querySelector(".text").textContent === %s)`,
		quote(from), quote(text)))
}

// messages returns the texts of the messages in the window, in order.
func (w *window) messages() []string {
	w.t.Helper()
	return eval[[]string](w, `[...document.querySelectorAll(".message .text")].map((e) => e.textContent)`)
}

// notes returns what the window tells about the room, in order, without the
// marks that isolate names.
func (w *window) notes() []string {
	w.t.Helper()
	return eval[[]string](w, `[...document.querySelectorAll(".note")].map((e) => e.textContent.replace(/[\u2068\u2069]/g, ""))`)
}

// lists waits until the window lists exactly these people.
func (w *window) lists(names ...string) {
	w.t.Helper()
	w.until(fmt.Sprintf("people %q", names), fmt.Sprintf(
		`JSON.stringify([...document.querySelectorAll("#people bdi")].map((e) => e.textContent)) === JSON.stringify(%s)`, quote(names)))
}

// namesItsControls checks that whatever can be used has a name for those who
// cannot see it.
func (w *window) namesItsControls() {
	w.t.Helper()
	tree, err := chromedp.Call(w.ctx, accessibility.GetFullAXTree, accessibility.GetFullAXTreeParams{})
	if err != nil {
		w.t.Fatalf("%s: accessibility tree: %v", w.name, err)
	}
	seen := 0
	for _, node := range tree.Nodes {
		if node.Ignored || node.Role == nil {
			continue
		}
		switch role := string(node.Role.Value); role {
		case `"button"`, `"textbox"`, `"log"`, `"region"`, `"complementary"`:
			seen++
			if node.Name == nil || string(node.Name.Value) == `""` {
				w.t.Errorf("%s: a %s has no accessible name", w.name, role)
			}
		}
	}
	if seen < 5 {
		w.t.Errorf("%s: the accessibility tree shows %d controls, want at least 5", w.name, seen)
	}
}

// fits checks that the page is no wider than the screen.
func (w *window) fits(width int) {
	w.t.Helper()
	if wide := eval[int](w, "document.documentElement.scrollWidth"); wide > width {
		w.t.Errorf("on a screen %d wide, %s's page is %d wide", width, w.name, wide)
	}
}

// look sets the size of the window and whether it is dark.
func (w *window) look(width, height int64, dark bool) {
	w.t.Helper()
	scheme := "light"
	if dark {
		scheme = "dark"
	}
	mobile := width < 500
	view := chromedp.EmulateViewport(width, height)
	if mobile {
		view = chromedp.EmulateViewport(width, height, chromedp.EmulateScale(2), chromedp.EmulateMobile)
	}
	w.do("change size", view)
	_, err := chromedp.Call(w.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
	})
	if err != nil {
		w.t.Fatalf("%s: change colours: %v", w.name, err)
	}
}

// shoot saves a picture among the test's artifacts (go test -artifacts).
func (w *window) shoot(name string) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.ctx, patience)
	defer cancel()
	png, err := chromedp.Run(ctx, chromedp.CaptureScreenshot())
	if err != nil {
		w.t.Errorf("%s: screenshot %s: %v", w.name, name, err)
		return
	}
	if err := os.WriteFile(filepath.Join(w.t.ArtifactDir(), name+".png"), png, 0o644); err != nil {
		w.t.Error(err)
	}
}

// shootAll saves pictures in both sizes and colours.
func (w *window) shootAll(name string) {
	w.t.Helper()
	for _, dark := range []bool{false, true} {
		colours := map[bool]string{false: "light", true: "dark"}[dark]
		w.look(1180, 760, dark)
		w.shoot(name + "-desktop-" + colours)
		w.look(390, 844, dark)
		w.shoot(name + "-mobile-" + colours)
	}
	w.look(1180, 760, false)
}

func quote(value any) string {
	b, err := json.Marshal(value)
	if err != nil {
		panic(err)
	}
	return string(b)
}
