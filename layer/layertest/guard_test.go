package layertest

import (
	"context"
	"strings"
	"testing"

	"github.com/channellayer/channellayer/layer"
)

// misbehaving does something in Send that would spoil a test without guards.
type misbehaving struct {
	layer.Layer
	send func()
}

func (m misbehaving) Send(ctx context.Context, channel string, msg layer.Message) error {
	m.send()
	return m.Layer.Send(ctx, channel, msg)
}

// TestGuards shows that a layer that hangs, panics or leaks makes a check fail
// with the right words, and neither hangs nor ends the test.
func TestGuards(t *testing.T) {
	ck := check{Rule: 5, Name: "Test/send", Run: func(c *checker) { c.start(layer.Limits{}).mustSend("jobs", text("x")) }}
	for _, test := range []struct {
		name string
		send func()
		rule int
		text string
	}{
		{"hangs", func() { select {} }, 5, `Send to "jobs" did not return within 15s`},
		{"panics", func() { panic("broken") }, 5, `Send to "jobs" panicked: broken`},
		{"leaks", func() { go func() { <-make(chan int) }() }, 11, "goroutines are left after Close"},
	} {
		t.Run(test.name, func(t *testing.T) {
			backend := memory()
			good := backend.New
			backend.New = func(tb testing.TB, config Config) layer.Layer { return misbehaving{good(tb, config), test.send} }
			r := runCheck(t, backend, ck)
			if len(r.failures) != 1 || r.failures[0].rule != test.rule || !strings.Contains(r.failures[0].text, test.text) {
				t.Errorf("failures are %q, want one of rule %d that says %q", r.failures, test.rule, test.text)
			}
		})
	}
}
