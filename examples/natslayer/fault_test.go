package natslayer_test

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	natslayer "github.com/channellayer/channellayer/examples/natslayer"
	"github.com/channellayer/channellayer/examples/natslayer/natstest"
	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/layer/layertest"
)

// seen is what a layer told its observer.
type seen struct {
	mu    sync.Mutex
	gaps  []gap
	drops layer.Drops
}

type gap struct{ from, to time.Time }

func (s *seen) observer() layer.Observer {
	return layer.Observer{
		Gap: func(from, to time.Time, _ string) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.gaps = append(s.gaps, gap{from, to})
		},
		Dropped: func(reason layer.DropReason, _ string, count int) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.drops[reason] += uint64(count)
		},
	}
}

func (s *seen) read() ([]gap, layer.Drops) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]gap(nil), s.gaps...), s.drops
}

func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	require.Eventually(t, condition, 20*time.Second, 5*time.Millisecond, what)
}

func numbered(n int) layer.Message { return layer.NewMessage(map[string]any{"n": n}) }

// proxy stands between a layer and the server, and can cut what goes through it.
type proxy struct {
	net.Listener
	mu    sync.Mutex
	conns []net.Conn
	done  sync.WaitGroup
}

func newProxy(t *testing.T, to string) *proxy {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p := &proxy{Listener: listener}
	p.done.Go(func() {
		for {
			near, err := listener.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", to)
			if err != nil {
				near.Close()
				continue
			}
			p.mu.Lock()
			p.conns = append(p.conns, near, far)
			p.mu.Unlock()
			for _, way := range [][2]net.Conn{{near, far}, {far, near}} {
				p.done.Go(func() {
					io.Copy(way[0], way[1])
					way[0].Close()
					way[1].Close()
				})
			}
		}
	})
	t.Cleanup(func() {
		listener.Close()
		p.cut()
		p.done.Wait()
	})
	return p
}

func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		c.Close()
	}
	p.conns = nil
}

// talk has a writer send numbers to a channel, a group and a normal channel of
// a reader, through faults, and shows that nothing comes twice or out of order,
// that what failed with ErrNotSent never comes, that both report a gap that the
// fault lies in, and that all works again afterwards.
func talk(t *testing.T, readerURL, writerURL string, fault func()) {
	var atReader, atWriter seen
	limits := layer.Limits{Capacity: 1 << 16}
	reader := open(t, readerURL, natslayer.Options{Limits: limits, Observer: atReader.observer(),
		GapMessage: layer.NewMessage(map[string]any{"type": "gap"}), GapSpread: 100 * time.Millisecond})
	writer := open(t, writerURL, natslayer.Options{Limits: limits, Observer: atWriter.observer()})
	ctx := t.Context()
	channel, err := reader.NewChannel(ctx, "")
	require.NoError(t, err)
	require.NoError(t, reader.GroupAdd(ctx, "room", channel))

	var mu sync.Mutex
	got := map[string][]int{}
	notices := 0
	receiving, end := context.WithCancel(context.Background())
	var receivers sync.WaitGroup
	for _, name := range []string{channel, "jobs"} {
		receivers.Go(func() {
			for msg, err := range layer.Messages(receiving, reader, name) {
				if err != nil {
					return
				}
				mu.Lock()
				if msg.String("type") == "gap" {
					notices++
				} else {
					got[name] = append(got[name], int(msg.Int("n")))
				}
				mu.Unlock()
			}
		})
	}
	defer receivers.Wait()
	defer end()
	last := func(name string) int {
		mu.Lock()
		defer mu.Unlock()
		if len(got[name]) == 0 {
			return 0
		}
		return got[name][len(got[name])-1]
	}

	n := 0
	refused := map[int]bool{}
	sendSome := func(count int) {
		for range count {
			n++
			var err error
			if n%3 == 0 {
				err = writer.GroupSend(ctx, "room", numbered(n))
			} else {
				err = writer.Send(ctx, channel, numbered(n))
			}
			if err != nil {
				require.NotEqual(t, errors.Is(err, layer.ErrNotSent), errors.Is(err, layer.ErrMaybeSent), "the outcome of %v", err)
				refused[n] = errors.Is(err, layer.ErrNotSent)
			}
			require.NoError(t, writer.Send(ctx, "jobs", numbered(n)), "a normal channel takes messages while NATS is away")
		}
	}
	sendSome(100)
	eventually(t, "all arrives before the fault", func() bool { return last(channel) == n && last("jobs") == n })
	before := time.Now()
	faulty := make(chan struct{})
	go func() {
		defer close(faulty)
		fault()
	}()
	for sending := true; sending; {
		sendSome(10)
		select {
		case <-faulty:
			sending = false
		case <-time.After(time.Millisecond):
		}
	}
	for name, s := range map[string]*seen{readerURL: &atReader, writerURL: &atWriter} {
		if name == writerURL && readerURL != writerURL {
			continue // only the reader's connection was touched
		}
		eventually(t, "a gap is reported", func() bool { gaps, _ := s.read(); return len(gaps) > 0 })
		gaps, _ := s.read()
		require.False(t, gaps[0].from.After(before), "the gap begins at %v, the fault at %v", gaps[0].from, before)
		require.True(t, gaps[len(gaps)-1].to.After(before), "the gap ends at %v, the fault began at %v", gaps[len(gaps)-1].to, before)
	}
	for {
		sendSome(1)
		if !refused[n] { // the reader may still be away: the next one tells
			arrived := time.Now().Add(time.Second)
			for last(channel) < n && time.Now().Before(arrived) {
				time.Sleep(time.Millisecond)
			}
			if last(channel) == n {
				break
			}
		}
		require.Less(t, time.Since(before), 30*time.Second, "a message from the writer arrives again")
		time.Sleep(5 * time.Millisecond)
	}
	sendSome(100)
	// What the server says of a process that is away may come late, and counts
	// for a second.
	eventually(t, "the writer takes messages for the reader", func() bool { sendSome(1); return !refused[n] })
	require.Eventually(t, func() bool { return last(channel) == n && last("jobs") == n }, 20*time.Second, 5*time.Millisecond, "message %d, the last, arrives on both channels", n)
	mu.Lock()
	defer mu.Unlock()
	require.Positive(t, notices, "the channel gets the message after a gap")
	for name, numbers := range got {
		for i, number := range numbers {
			require.True(t, i == 0 || number > numbers[i-1], "%q received message %d after %d: repeated or out of order", name, number, numbers[max(0, i-1)])
			require.False(t, name == channel && refused[number], "message %d was not sent, said the error, and was received", number)
		}
	}
	t.Logf("%d sent, %d refused; received on the channel %d, on the normal channel %d", n, len(refused), len(got[channel]), len(got["jobs"]))
}

func TestServerRestart(t *testing.T) {
	s := start(t)
	port := s.Addr().(*net.TCPAddr).Port
	talk(t, s.ClientURL(), s.ClientURL(), func() {
		stop(s)
		time.Sleep(300 * time.Millisecond) // an outage of some length
		again, err := natstest.Start(port)
		if err != nil {
			t.Error(err)
			return
		}
		t.Cleanup(func() { stop(again) })
	})
}

func TestConnectionCut(t *testing.T) {
	s := start(t)
	p := newProxy(t, s.Addr().String())
	talk(t, "nats://"+p.Addr().String(), s.ClientURL(), func() {
		for range 3 {
			p.cut()
			time.Sleep(200 * time.Millisecond) // between cuts it reconnects
		}
	})
}

// A process whose messages come faster than it puts them into mailboxes: what
// nats.go then drops is counted, and a gap reported.
func TestSlowConsumer(t *testing.T) {
	s := start(t)
	var atReader seen
	block := make(chan struct{})
	observer := atReader.observer()
	dropped := observer.Dropped
	observer.Dropped = func(reason layer.DropReason, name string, count int) {
		if name == "jam" {
			<-block // an observer that must not do so holds up everything
		}
		dropped(reason, name, count)
	}
	reader := open(t, s.ClientURL(), natslayer.Options{Limits: layer.Limits{Capacity: 1000}, Observer: observer, NATS: []nats.Option{nats.SyncQueueLen(10)}})
	writer := open(t, s.ClientURL(), natslayer.Options{Limits: layer.Limits{Capacity: 1000}})
	ctx := t.Context()
	channel, err := reader.NewChannel(ctx, "")
	require.NoError(t, err)
	require.NoError(t, reader.GroupAdd(ctx, "jam", channel))
	require.NoError(t, reader.GroupAdd(ctx, "room", channel))
	raw := connectRaw(t, s)
	require.NoError(t, raw.Publish("channellayer.group.jam", []byte("not msgpack")))
	require.NoError(t, raw.Flush())
	for n := range 500 {
		require.NoError(t, writer.GroupSend(ctx, "room", numbered(n)))
	}
	require.NoError(t, writer.Ping(ctx))
	require.NoError(t, reader.Ping(ctx), "what was sent is at the reader")
	close(block)
	eventually(t, "the drops are counted and a gap is reported", func() bool {
		gaps, drops := atReader.read()
		return len(gaps) == 1 && drops[layer.DropFull] > 0
	})
	_, drops := atReader.read()
	received := 500 - int(drops[layer.DropFull])
	lastN := int64(-1)
	for range received {
		msg := layertest.Expect(t, reader, channel, 5*time.Second)
		require.Greater(t, msg.Int("n"), lastN, "in order, none twice")
		lastN = msg.Int("n")
	}
	layertest.ExpectNone(t, reader, channel, 50*time.Millisecond)
	require.EqualValues(t, 1, drops[layer.DropUndecodable])
	t.Logf("%d of 500 were dropped and counted", drops[layer.DropFull])
}

// While NATS is away a send to elsewhere fails at once, and is not sent later.
func TestAway(t *testing.T) {
	s := start(t)
	port := s.Addr().(*net.TCPAddr).Port
	reader, writer := open(t, s.ClientURL(), natslayer.Options{}), open(t, s.ClientURL(), natslayer.Options{})
	ctx := t.Context()
	channel, err := reader.NewChannel(ctx, "")
	require.NoError(t, err)
	require.NoError(t, reader.GroupAdd(ctx, "room", channel))
	stop(s)
	eventually(t, "the layers know that NATS is away", func() bool { return writer.GroupSend(ctx, "room", numbered(0)) != nil })
	for _, err := range []error{writer.Send(ctx, channel, numbered(1)), writer.GroupSend(ctx, "room", numbered(2))} {
		require.ErrorIs(t, err, layer.ErrNotSent)
		require.ErrorIs(t, err, layer.ErrUnavailable)
	}
	require.NoError(t, reader.Send(ctx, channel, numbered(3)), "a channel of the same process needs no NATS")
	_, err = reader.NewChannel(ctx, "")
	require.NoError(t, err)
	again, err := natstest.Start(port)
	require.NoError(t, err)
	defer stop(again)
	eventually(t, "the layers are back", func() bool { return reader.Ping(ctx) == nil && writer.Ping(ctx) == nil })
	require.NoError(t, writer.GroupSend(ctx, "room", numbered(4)), "the membership is there again")
	for _, n := range []int{3, 4} {
		msg := layertest.Expect(t, reader, channel, 5*time.Second)
		require.Truef(t, msg.Equal(numbered(n)) || n == 3 && msg.Equal(numbered(0)), "received %v, want message %d", msg, n)
	}
	require.NoError(t, reader.Close())
	require.NoError(t, writer.Close())
}
