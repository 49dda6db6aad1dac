package process_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/layer/process"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// testProcess is a Process with what its callbacks were told.
type testProcess struct {
	*process.Process
	t    *testing.T
	mu   sync.Mutex
	told []string
}

func (p *testProcess) tell(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.told = append(p.told, fmt.Sprintf(format, args...))
}

// wantTold checks what was told since the last call.
func (p *testProcess) wantTold(want ...string) {
	p.t.Helper()
	synctest.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	require.ElementsMatch(p.t, want, p.told, "what the callbacks were told")
	p.told = nil
}

// bubble runs a test of one process in a bubble of fake time.
func bubble(t *testing.T, options process.Options, f func(t *testing.T, p *testProcess)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		p := &testProcess{t: t}
		options.Observer = layer.Observer{
			Dropped: func(reason layer.DropReason, name string, count int) {
				p.tell("%s %s %d", reason, p.short(name), count)
			},
			Gap:       func(_, _ time.Time, reason string) { p.tell("gap %s", reason) },
			Abandoned: func(channel string) { p.tell("abandoned %s", p.short(channel)) },
		}
		options.Emptied = func(groups []string) {
			slices.Sort(groups)
			p.tell("emptied %s", strings.Join(groups, ","))
		}
		var err error
		p.Process, err = process.New(options)
		require.NoError(t, err)
		defer p.Close()
		f(t, p)
	})
}

// short returns what this process's channel has after the '!', and other names
// as they are.
func (p *testProcess) short(name string) string {
	if _, local, ok := strings.Cut(name, "."+p.Name()+"!"); ok {
		return local
	}
	return name
}

func (p *testProcess) newChannel() string {
	p.t.Helper()
	channel, err := p.NewChannel(p.t.Context(), "")
	require.NoError(p.t, err)
	return channel
}

func numbered(n int) layer.Message { return layer.NewMessage(map[string]any{"n": n}) }

// receive receives without waiting, and compares.
func (p *testProcess) receive(channel string, want ...int) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), time.Nanosecond)
	defer cancel()
	for i, n := range want {
		msg, err := p.Receive(ctx, channel)
		require.NoError(p.t, err, "receiving message %d of %v from %q", i, want, channel)
		require.True(p.t, msg.Equal(numbered(n)), "received %v, want message %d of %v from %q", msg, i, want, channel)
	}
	require.Zero(p.t, p.Mailboxes().Len(channel), "unread messages on %q after %v", channel, want)
}
