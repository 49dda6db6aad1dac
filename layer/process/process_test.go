package process_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/layer/process"
)

func TestNewRefuses(t *testing.T) {
	for want, options := range map[string]process.Options{
		"Capacity":    {Limits: layer.Limits{Capacity: -1}},
		"GroupExpiry": {Limits: layer.Limits{GroupExpiry: -1}},
		`"a.b" is not up to 53 letters and digits`: {Name: "a.b"},
		`"a!b" is not`: {Name: "a!b"},
		`"a-b" is not`: {Name: "a-b"},
		`"é" is not`:   {Name: "é"},
		`x" is not`:    {Name: strings.Repeat("x", 54)},
		"GapSpread":    {GapSpread: -1},
		"GapEach":      {GapEach: -1},
		"GapMessage":   {GapMessage: layer.NewMessage(map[string]any{"at": time.Now()})},
	} {
		p, err := process.New(options)
		require.ErrorIs(t, err, layer.ErrInvalidOption, want)
		require.ErrorContains(t, err, want)
		require.Nil(t, p)
	}
}

func TestNames(t *testing.T) {
	bubble(t, process.Options{}, func(t *testing.T, p *testProcess) {
		ctx := t.Context()
		first, second := p.newChannel(), p.newChannel()
		require.NotEqual(t, first, second)
		named, err := p.NewChannel(ctx, "web.eu-1")
		require.NoError(t, err)
		require.True(t, strings.HasPrefix(named, "web.eu-1."), named)
		for _, channel := range []string{first, second, named} {
			require.NoError(t, layer.ValidateChannel(channel))
			require.True(t, p.Owns(channel), channel)
			require.Equal(t, p.Name(), process.Of(channel))
		}
		longest, err := p.NewChannel(ctx, strings.Repeat("x", layer.MaxPrefixLength))
		require.NoError(t, err)
		require.LessOrEqual(t, len(longest)+12, layer.MaxNameLength, "there is room for any number after the '!'")
		_, err = p.NewChannel(ctx, "no spaces")
		require.ErrorIs(t, err, layer.ErrInvalidName)

		other, err := process.New(process.Options{})
		require.NoError(t, err)
		defer other.Close()
		require.False(t, other.Owns(first), "%s is not %s's", first, other.Name())
		for channel, want := range map[string]string{
			"jobs": "", "eu.jobs": "", "specific.abc!def": "abc", "abc!def": "abc", "a.b.abc!d.e": "abc", "specific.!1": "", "!": "",
		} {
			require.Equal(t, want, process.Of(channel), channel)
			require.False(t, p.Owns(channel), channel)
		}
	})
}

func TestChosenName(t *testing.T) {
	name := strings.Repeat("aZ0f", 14)[:53]
	bubble(t, process.Options{Name: name}, func(t *testing.T, p *testProcess) {
		require.Equal(t, name, p.Name())
		channel, err := p.NewChannel(t.Context(), strings.Repeat("x", layer.MaxPrefixLength))
		require.NoError(t, err)
		require.LessOrEqual(t, len(channel)+12, layer.MaxNameLength, "there is room for any number after the '!'")
		require.True(t, p.Owns(channel), channel)
		require.Equal(t, name, process.Of(channel))
	})
}

func TestReceiveAndRelease(t *testing.T) {
	bubble(t, process.Options{}, func(t *testing.T, p *testProcess) {
		ctx := t.Context()
		channel := p.newChannel()
		require.NoError(t, p.Mailboxes().Put(channel, numbered(1)))
		require.NoError(t, p.Mailboxes().Put(channel, numbered(2)))
		p.receive(channel, 1, 2)
		_, err := p.Receive(ctx, "specific.elsewhere!1")
		require.ErrorIs(t, err, layer.ErrForeignChannel)
		_, err = p.ReceiveBatch(ctx, "specific.elsewhere!1", make([]layer.Message, 1))
		require.ErrorIs(t, err, layer.ErrForeignChannel)
		require.ErrorIs(t, p.Release(ctx, "specific.elsewhere!1"), layer.ErrForeignChannel)
		require.ErrorIs(t, p.Release(ctx, "jobs"), layer.ErrInvalidName)
		require.ErrorIs(t, p.Release(ctx, "no spaces"), layer.ErrInvalidName)

		require.NoError(t, p.Join("alone", channel))
		require.NoError(t, p.Join("shared", channel))
		require.NoError(t, p.Join("shared", p.newChannel()))
		require.NoError(t, p.Mailboxes().Put(channel, numbered(3)))
		require.NoError(t, p.Release(ctx, channel))
		p.wantTold("closed 1 1", "emptied alone")
		_, err = p.Receive(ctx, channel)
		require.ErrorIs(t, err, layer.ErrChannelGone)
		require.NoError(t, p.Release(ctx, channel), "again")
		require.ErrorIs(t, p.Join("alone", channel), layer.ErrChannelGone)
		require.Zero(t, p.Groups().Len("alone"))
		p.wantTold("emptied alone")
	})
}

// What the backend drops is told to Options.Dropped, what the mailboxes drop to
// the observer.
func TestDroppedElsewhere(t *testing.T) {
	var told []string
	tell := func(by string) func(layer.DropReason, string, int) {
		return func(reason layer.DropReason, name string, count int) {
			told = append(told, fmt.Sprintf("%s: %s %s %d", by, reason, name, count))
		}
	}
	p, err := process.New(process.Options{Observer: layer.Observer{Dropped: tell("observer")}, Dropped: tell("backend")})
	require.NoError(t, err)
	defer p.Close()
	channel, err := p.NewChannel(t.Context(), "")
	require.NoError(t, err)
	require.True(t, p.Put(channel, numbered(1), 0))
	require.NoError(t, p.Release(t.Context(), channel))
	require.False(t, p.Put(channel, numbered(2), 0))
	require.Equal(t, []string{"observer: closed " + channel + " 1", "backend: closed " + channel + " 1"}, told)
	p.Refused(channel, nil, 3)
	p.Refused(channel, layer.ErrChannelFull, 3)
	p.Refused(channel, layer.ErrChannelGone, 4)
	p.Refused(channel, layer.ErrClosed, 5)
	require.Equal(t, []string{"backend: full " + channel + " 3", "backend: closed " + channel + " 4", "backend: closed " + channel + " 5"}, told[2:])
	require.Equal(t, layer.Drops{layer.DropFull: 3, layer.DropClosed: 2 + 4 + 5}, p.Stats().Dropped)
}

// A release that took effect says so, also if ctx ended meanwhile.
func TestReleaseWhileCtxEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	p, err := process.New(process.Options{Emptied: func([]string) { cancel() }})
	require.NoError(t, err)
	defer p.Close()
	channel, err := p.NewChannel(ctx, "")
	require.NoError(t, err)
	require.NoError(t, p.Join("room", channel))
	require.NoError(t, p.Release(ctx, channel))
	require.Error(t, ctx.Err())
}

func TestAbandonedAndExpired(t *testing.T) {
	limits := layer.Limits{Expiry: time.Minute, GroupExpiry: time.Hour}
	bubble(t, process.Options{Limits: limits}, func(t *testing.T, p *testProcess) {
		unread, idle := p.newChannel(), p.newChannel()
		require.NoError(t, p.Join("unread", unread))
		require.NoError(t, p.Join("idle", idle))
		require.NoError(t, p.Join("idle", "jobs"))
		require.True(t, p.Put(unread, numbered(1), 0))
		time.Sleep(2 * time.Minute)
		p.wantTold("expired 1 1", "abandoned 1", "emptied unread")
		require.True(t, p.Adopted().Has("idle", "jobs"))
		time.Sleep(time.Hour)
		p.wantTold("emptied idle")
		groups, _ := p.Adopted().Count()
		require.Zero(t, groups, "adopted memberships are swept, too")
	})
}

func TestCheckAndClose(t *testing.T) {
	bubble(t, process.Options{}, func(t *testing.T, p *testProcess) {
		ctx, end := context.WithTimeout(t.Context(), time.Hour) // a hang would last for ever: other goroutines have timers
		defer end()
		ended, cancel := context.WithCancel(ctx)
		cancel()
		odd := errors.New("odd")
		channel := p.newChannel()
		require.NoError(t, p.Check(ctx))
		require.NoError(t, p.Check(ctx, nil, nil))
		require.Equal(t, odd, p.Check(ctx, nil, odd, layer.ErrInvalidName), "the first error")
		require.Equal(t, context.Canceled, p.Check(ended, odd))

		largest := p.Limits().MaxMessageSize
		require.NoError(t, p.CheckSend(ctx, numbered(1), nil))
		for want, err := range map[error]error{
			odd:                      p.CheckSend(ctx, layer.Message{}, odd),
			context.Canceled:         p.CheckSend(ended, numbered(1)),
			layer.ErrInvalidMessage:  p.CheckSend(ctx, layer.NewMessage(map[string]any{"at": make(chan int)})),
			layer.ErrMessageTooLarge: p.CheckSend(ctx, layer.NewMessage(map[string]any{"text": strings.Repeat("x", largest)})),
		} {
			require.ErrorIs(t, err, want)
			require.ErrorIs(t, err, layer.ErrNotSent)
		}

		require.True(t, p.BeginClose())
		require.False(t, p.BeginClose())
		require.Equal(t, layer.ErrClosed, p.Check(ctx, odd))
		require.ErrorIs(t, p.CheckSend(ctx, numbered(1)), layer.ErrClosed)
		require.Equal(t, context.Canceled, p.Check(ended))
		_, err := p.NewChannel(ctx, "")
		require.ErrorIs(t, err, layer.ErrClosed)
		require.ErrorIs(t, p.Release(ctx, channel), layer.ErrClosed)
		require.True(t, p.Put(channel, numbered(1), 0), "what was on its way is delivered")
		p.receive(channel, 1)

		waiting := make(chan error)
		go func() {
			_, err := p.Receive(ctx, channel)
			waiting <- err
		}()
		synctest.Wait()
		require.True(t, p.Put(channel, numbered(2), 0))
		require.NoError(t, <-waiting)
		require.True(t, p.Put(channel, numbered(3), 0))
		p.Close()
		p.wantTold("closed 1 1")
		require.False(t, p.Put(channel, numbered(4), 0))
		p.wantTold("closed 1 1")
		require.ErrorIs(t, p.Join("room", channel), layer.ErrClosed)
		_, err = p.Receive(ctx, channel)
		require.ErrorIs(t, err, layer.ErrClosed)
		p.Close()
	})
}

func TestDeliver(t *testing.T) {
	limits := layer.Limits{Capacity: 2, Expiry: time.Minute, MaxMessageSize: 100}
	bubble(t, process.Options{Limits: limits}, func(t *testing.T, p *testProcess) {
		ctx := t.Context()
		ada, ben, full := p.newChannel(), p.newChannel(), p.newChannel()
		for _, channel := range []string{ada, ben, full, "jobs"} {
			require.NoError(t, p.Join("room", channel))
			require.NoError(t, p.Join("room", channel), "again")
		}
		require.True(t, p.Put(full, numbered(1), 0))
		require.True(t, p.Put(full, numbered(2), 0))
		require.False(t, p.Put(full, numbered(3), 0))
		p.wantTold("full 3 1")
		require.Equal(t, 2, p.Deliver("room", numbered(4), 0), "one is full, and jobs is for the backend to serve")
		p.wantTold("full 3 1")
		require.False(t, p.Leave("room", ada))
		require.Equal(t, 1, p.Deliver("room", numbered(5), 30*time.Second))
		p.wantTold("full 3 1")
		require.Zero(t, p.Deliver("nobody", numbered(6), 0))
		gone := p.newChannel()
		require.NoError(t, p.Join("gone", gone))
		p.Mailboxes().Release(gone) // at this moment: its membership is still there
		require.Zero(t, p.Deliver("gone", numbered(6), 0))
		p.wantTold()
		p.receive(ada, 4)
		time.Sleep(30 * time.Second)
		p.receive(full, 1, 2)
		p.receive(ben, 4)
		p.wantTold("expired 2 1")
		require.False(t, p.Leave("room", ben))
		require.True(t, p.Leave("room", full), "the last of this process's own")
		require.True(t, p.Leave("room", "jobs"), "the last normal one")
		require.False(t, p.Leave("room", "jobs"))

		require.NoError(t, p.Release(ctx, ben))
		require.False(t, p.Put(ben, numbered(7), 0))
		p.wantTold("closed 2 1")
		require.True(t, p.Accept("room", numbered(8), nil))
		require.False(t, p.Accept("room", layer.Message{}, errors.New("not msgpack")))
		require.False(t, p.Accept("", layer.NewMessage(map[string]any{"text": strings.Repeat("x", 100)}), nil))
		p.wantTold("undecodable room 1", "oversized  1")

		p.CountSend(ada)
		p.CountSend("jobs")
		p.CountGroupSend("room")
		p.Gap(time.Now(), time.Now(), "for a reason")
		p.wantTold("gap for a reason")
		require.Equal(t, layer.Stats{Sent: 2, GroupSent: 1, Received: 4, Gaps: 1, Dropped: layer.Drops{
			layer.DropFull: 3, layer.DropExpired: 1, layer.DropOversized: 1, layer.DropUndecodable: 1, layer.DropClosed: 1,
		}}, p.Stats())
	})
}
