package channelsredis_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/channellayer/channellayer/internal/redistest"
	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/redislayer/channelsredis"
)

func TestCoreServerIsAway(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err := channelsredis.OpenCore(ctx, []string{"redis://127.0.0.1:1"}, channelsredis.Options{})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorIs(t, err, layer.ErrUnavailable)
	require.ErrorContains(t, err, "connection refused")
}

func TestCoreSetupErrors(t *testing.T) {
	server := redistest.Start(t, redistest.Config{Users: []string{"default off", "reader on >secret ~asgi* &* +@read +@connection +info", "quiet on >secret ~asgi* &* +@all -client|kill"}})
	for name, test := range map[string]struct{ user, want string }{
		"no user":        {"", "check user and password: NOAUTH"},
		"wrong password": {"reader:wrong@", "check user and password: WRONGPASS"},
		"no rights":      {"reader:secret@", "the user lacks rights: NOPERM"},
		"no CLIENT KILL": {"quiet:secret@", "the user lacks rights: NOPERM"},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		_, err := channelsredis.OpenCore(ctx, []string{"redis://" + test.user + server.Addr()}, channelsredis.Options{})
		cancel()
		var setup *channelsredis.SetupError
		require.ErrorAs(t, err, &setup, name)
		require.ErrorContains(t, err, test.want, name)
	}
}

// A key of the bus that holds something else costs what uses it, and nothing
// else.
func TestCoreKeyOfAnotherType(t *testing.T) {
	f := newFaulty(t, nil)
	ctx := t.Context()
	theirs := newOwn(t, f.sound)
	require.NoError(t, f.client.Set(ctx, "asgibad", "x", 0).Err())
	require.NoError(t, f.client.Set(ctx, "asgi:group:bad", "x", 0).Err())
	for what, err := range map[string]error{
		"Send":      f.faulty.Send(ctx, "bad", say("x")),
		"GroupAdd":  f.faulty.GroupAdd(ctx, "bad", theirs),
		"GroupSend": f.faulty.GroupSend(ctx, "bad", say("x")),
	} {
		var setup *channelsredis.SetupError
		require.ErrorAs(t, err, &setup, "%s: %v", what, err)
		require.ErrorIs(t, err, layer.ErrUnavailable, what)
		require.ErrorIs(t, err, layer.ErrNotSent, what)
	}
	require.NoError(t, f.faulty.Send(ctx, theirs, say("good")))
	require.Equal(t, "good", next(t, f.sound, theirs).String("text"))
}
