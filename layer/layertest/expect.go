package layertest

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/channellayer/channellayer/layer"
)

// Expect returns the next message on the channel of an application under test.
// It waits for at most the given time, and ends the test if none came, or if
// Receive failed. Call it from the test's goroutine.
func Expect(tb testing.TB, l layer.Layer, channel string, within time.Duration) layer.Message {
	tb.Helper()
	msg, err := receiveWithin(tb, l, channel, within)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		tb.Fatalf("no message came on channel %q within %v", channel, within)
	case err != nil:
		tb.Fatalf("Receive on channel %q: %v", channel, err)
	}
	return msg
}

// ExpectNone waits for the given time, and ends the test if a message came on
// the channel, or if Receive failed. Call it from the test's goroutine; in a
// bubble of [testing/synctest], waiting costs nothing.
func ExpectNone(tb testing.TB, l layer.Layer, channel string, during time.Duration) {
	tb.Helper()
	msg, err := receiveWithin(tb, l, channel, during)
	switch {
	case err == nil:
		tb.Fatalf("a message came on channel %q, want none within %v: %v", channel, during, msg)
	case !errors.Is(err, context.DeadlineExceeded):
		tb.Fatalf("Receive on channel %q: %v", channel, err)
	}
}

func receiveWithin(tb testing.TB, l layer.Layer, channel string, within time.Duration) (layer.Message, error) {
	ctx, cancel := context.WithTimeout(tb.Context(), within)
	defer cancel()
	return l.Receive(ctx, channel)
}
