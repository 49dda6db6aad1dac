package channelsredis_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/channellayer/channellayer/internal/pypeer"
	"github.com/channellayer/channellayer/internal/redistest"
	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/redislayer/channelsredis"
)

// withClock is Python's hosts, in a process whose clock is that much ahead.
func withClock(ahead time.Duration, url string) pypeer.Source {
	return pypeer.Source(fmt.Sprintf(
		`[setattr(__import__("time"), "time", lambda real=__import__("time").time: real() + %v), %q][1:]`, ahead.Seconds(), url))
}

// What of Python's messages and memberships is dropped, and in which order they
// come, where its clock is another, is what the package's documentation says.
func TestInteropCoreClocks(t *testing.T) {
	pypeer.Need(t)
	const expiry = time.Minute // and GroupExpiry
	for _, ahead := range []time.Duration{-120 * time.Second, -30 * time.Second, 500 * time.Millisecond, 30 * time.Second, 120 * time.Second} {
		late, early := ahead <= -expiry, ahead >= expiry
		for _, keys := range [][]string{nil, someKeys} {
			t.Run(fmt.Sprintf("%v ahead, %d keys", ahead, len(keys)), func(t *testing.T) {
				t.Parallel()
				ctx := t.Context()
				server := redistest.Start(t, redistest.Config{})
				open := func() *channelsredis.Core {
					c, err := channelsredis.OpenCore(ctx, []string{server.URL()}, channelsredis.Options{GroupExpiry: expiry, SymmetricEncryptionKeys: keys})
					require.NoError(t, err)
					t.Cleanup(func() { require.NoError(t, c.Close()) })
					return c
				}
				ours, others := open(), open()
				theirs := pypeer.Start(t).Core(pypeer.Options{HostsSource: withClock(ahead, server.URL()), GroupExpiry: expiry, Keys: keys})
				reason, dropped := layer.DropExpired, late
				if keys != nil && (late || early) { // the token tells before the score is looked at
					reason, dropped = layer.DropUndecodable, true
				}

				specific := newOwn(t, ours)
				for _, channel := range []string{specific, "jobs"} {
					before := ours.Stats().Dropped[reason]
					theirs.Send(channel, fromPython(1))
					if dropped {
						some, cancel := context.WithTimeout(ctx, patience)
						go func() { // a normal channel is read only then
							soon := time.NewTicker(time.Millisecond)
							defer soon.Stop()
							for ours.Stats().Dropped[reason] == before && some.Err() == nil {
								<-soon.C
							}
							cancel()
						}()
						msg, err := ours.Receive(some, channel)
						require.ErrorIs(t, err, context.Canceled, "received %v on %s, which should be dropped", msg, channel)
						require.Equal(t, before+1, ours.Stats().Dropped[reason], "dropped on %s", channel)
						continue
					}
					require.EqualValues(t, 1, next(t, ours, channel).Int("n"), channel)
				}

				// Where both have sent, and nobody has read yet.
				for n := range 2 {
					require.NoError(t, others.Send(ctx, "mail", note(n)))
				}
				theirs.Send("mail", fromPython(2))
				require.NoError(t, others.Send(ctx, "mail", note(3)))
				var want []int64
				switch {
				case dropped && !early: // a sender in Go has dropped it, or the reader does
					want = []int64{0, 1, 3}
				case dropped:
					want = []int64{3}
				case early: // those from before were dropped by Python's send
					want = []int64{3, 2}
				case ahead > time.Second:
					want = []int64{0, 1, 3, 2}
				case ahead > 0:
					want = []int64{0, 1, 2, 3}
				default:
					want = []int64{2, 0, 1, 3}
				}
				for _, n := range want {
					require.Equal(t, n, next(t, ours, "mail").Int("n"), "in the order %v", want)
				}

				// Python reads whatever comes, unless a token's time is wrong.
				channel := theirs.NewChannel()
				require.NoError(t, ours.Send(ctx, channel, note(4)))
				message, err := theirs.TryReceive(channel, patience)
				if keys != nil && (late || early) {
					require.True(t, pypeer.IsType(err, "InvalidToken"), "got %v, %v", message, err)
				} else {
					require.NoError(t, err)
					require.EqualValues(t, 4, message["n"])
				}

				// A membership is as old as its clock says; a sender in Python
				// removes those that have expired by its own.
				theirs.GroupAdd("theirs", specific)
				require.NoError(t, others.GroupSend(ctx, "theirs", note(5)))
				if !late {
					require.EqualValues(t, 5, next(t, ours, specific).Int("n"))
				}
				require.NoError(t, ours.GroupAdd(ctx, "ours", specific))
				require.NoError(t, theirs.TryGroupSend("ours", fromPython(6)))
				require.NoError(t, others.GroupSend(ctx, "ours", note(7)))
				if !dropped && !early {
					require.EqualValues(t, 6, next(t, ours, specific).Int("n"))
				}
				if !early {
					require.EqualValues(t, 7, next(t, ours, specific).Int("n"))
				}
				silent(t, ours, specific)
			})
		}
	}
}
