package channelsredis_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/channellayer/channellayer/internal/redistest"
	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/redislayer/channelsredis"
)

// openers open either layer, with room for what the tests send.
var openers = map[string]func(*testing.T, *redistest.Server) layer.Layer{
	"Core": func(t *testing.T, server *redistest.Server) layer.Layer {
		return openOne(t, server, channelsredis.Options{Capacity: 10_000})
	},
	"PubSub": func(t *testing.T, server *redistest.Server) layer.Layer {
		return openPubSub(t, []string{server.URL()}, channelsredis.Options{Capacity: 10_000})
	},
}

// A lone caller uses the connection itself. It leaves when its ctx ends, and the
// connection is as good as before: what it was sent is run, nothing comes twice
// or in another's place.
func TestLoneCallerLeaves(t *testing.T) {
	for name, open := range openers {
		t.Run(name, func(t *testing.T) {
			ctx := t.Context()
			server := redistest.Start(t, redistest.Config{})
			sender, receiver := open(t, server), open(t, server)
			channel := newOwn(t, receiver)
			require.NoError(t, receiver.GroupAdd(ctx, "room", channel))
			require.NoError(t, sender.GroupSend(ctx, "room", note(-1)))
			require.EqualValues(t, -1, next(t, receiver, channel).Int("n"))
			client := server.Client(t)
			connections := func() string {
				_, rest, _ := strings.Cut(client.Info(ctx, "stats").Val(), "total_connections_received:")
				made, _, _ := strings.Cut(rest, "\r")
				return made
			}
			before := connections()
			for n := range 5 {
				server.Pause()
				leaving, leave := context.WithCancel(ctx)
				time.AfterFunc(20*time.Millisecond, leave)
				send := func(ctx context.Context) error {
					if n%2 == 0 {
						return sender.Send(ctx, channel, note(2*n))
					}
					return sender.GroupSend(ctx, "room", note(2*n))
				}
				began := time.Now()
				err := send(leaving)
				require.ErrorIs(t, err, layer.ErrMaybeSent)
				require.ErrorIs(t, err, context.Canceled)
				require.Less(t, time.Since(began), time.Second, "to leave")
				err = send(leaving)
				require.ErrorIs(t, err, layer.ErrNotSent, "with a ctx that has ended")

				// Who comes now waits behind it.
				impatient, stop := context.WithTimeout(ctx, 20*time.Millisecond)
				err = send(impatient)
				stop()
				require.ErrorIs(t, err, layer.ErrNotSent)
				require.ErrorIs(t, err, context.DeadlineExceeded)

				server.Resume()
				require.NoError(t, sender.Send(ctx, channel, note(2*n+1)))
				for _, want := range []int{2 * n, 2*n + 1} {
					require.EqualValues(t, want, next(t, receiver, channel).Int("n"))
				}
			}
			silent(t, receiver, channel)
			require.NotEmpty(t, before)
			require.Equal(t, before, connections(), "connections made")
		})
	}
}

// Callers who come one at a time, and callers who come together, take turns
// without losing or confusing anything, while some leave at any time.
func TestLoneAndTogether(t *testing.T) {
	for name, open := range openers {
		t.Run(name, func(t *testing.T) {
			ctx := t.Context()
			server := redistest.Start(t, redistest.Config{})
			sender, receiver := open(t, server), open(t, server)
			const senders, each = 3, 400
			var channels [senders]string
			for s := range channels {
				channels[s] = newOwn(t, receiver)
			}
			var sent [senders][]bool // certainly
			var all sync.WaitGroup
			for s := range senders {
				all.Go(func() {
					for n := range each {
						limited, cancel := ctx, context.CancelFunc(func() {})
						if n%3 == 0 {
							limited, cancel = context.WithTimeout(ctx, time.Duration(n)*time.Microsecond)
						}
						err := sender.Send(limited, channels[s], note(n))
						cancel()
						if err != nil && !errors.Is(err, context.DeadlineExceeded) {
							t.Errorf("sender %d, message %d: %v", s, n, err)
						}
						sent[s] = append(sent[s], err == nil)
						if n%7 == 0 {
							time.Sleep(time.Duration(s) * 100 * time.Microsecond) // so that they meet in other ways
						}
					}
				})
			}
			all.Wait()
			for s := range senders {
				require.NoError(t, sender.Send(ctx, channels[s], note(each)))
				for last := -1; last < each; {
					n := int(next(t, receiver, channels[s]).Int("n"))
					require.Greater(t, n, last, "in order, and once")
					for missed := last + 1; missed < n; missed++ {
						require.False(t, sent[s][missed], "message %d was sent and did not arrive", missed)
					}
					last = n
				}
			}
		})
	}
}

// panicky is a ctx that panics when it was asked for its end so many times.
type panicky struct {
	context.Context
	looks int
}

func (p *panicky) Done() <-chan struct{} {
	if p.looks--; p.looks < 0 {
		panic("no end")
	}
	return p.Context.Done()
}

// A ctx whose own methods panic, wherever that is, does not harm the layer.
func TestPanickyContext(t *testing.T) {
	for name, open := range openers {
		t.Run(name, func(t *testing.T) {
			ctx := t.Context()
			server := redistest.Start(t, redistest.Config{})
			sender, receiver := open(t, server), open(t, server)
			channel := newOwn(t, receiver)
			panics := 0
			for n := range 8 {
				func() {
					defer func() {
						if recover() != nil {
							panics++
						}
					}()
					require.NoError(t, sender.Send(&panicky{ctx, n}, channel, note(2*n)))
				}()
				require.NoError(t, sender.Send(ctx, channel, note(2*n+1)), "after a ctx that panicked when it was asked once more than %d times", n)
				for last := 2*n - 1; last < 2*n+1; {
					got := int(next(t, receiver, channel).Int("n"))
					require.Greater(t, got, last, "in order, and once")
					last = got
				}
			}
			require.Positive(t, panics)
			t.Logf("%d of 8 calls panicked", panics)
			require.NoError(t, sender.(layer.Pinger).Ping(ctx))
			began := time.Now()
			require.NoError(t, sender.Close())
			require.Less(t, time.Since(began), time.Second, "to close")
		})
	}
}

// endsSoon has ended, but for the first look.
type endsSoon struct {
	context.Context
	looked bool
}

func (e *endsSoon) Err() error {
	if !e.looked {
		e.looked = true
		return nil
	}
	return e.Context.Err()
}

// A ctx that ends while a call gets ready sends nothing.
func TestEndsBeforeItIsSent(t *testing.T) {
	for name, open := range openers {
		t.Run(name, func(t *testing.T) {
			server := redistest.Start(t, redistest.Config{})
			sender, receiver := open(t, server), open(t, server)
			channel := newOwn(t, receiver)
			ended, cancel := context.WithCancel(t.Context())
			cancel()
			err := sender.Send(&endsSoon{Context: ended}, channel, note(1))
			require.ErrorIs(t, err, layer.ErrNotSent)
			require.ErrorIs(t, err, context.Canceled)
			require.NoError(t, sender.Send(t.Context(), channel, note(2)))
			require.EqualValues(t, 2, next(t, receiver, channel).Int("n"), "what comes, and nothing before it")
		})
	}
}
