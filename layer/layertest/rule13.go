package layertest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"

	"github.com/channellayer/channellayer/layer"
)

func rule13() []check {
	return []check{
		{Rule: 13, Name: "Rule13Concurrency/all_methods", Both: true, Heavy: true, Run: func(c *checker) { everythingAtOnce(c, 8, 400) },
			Doc: "All methods at random from many goroutines, with Close in the end: no call fails in a way the contract does not name, or hangs. Run with -race, it looks for data races too."},
		{Rule: 13, Name: "Rule13Concurrency/join_send_leave", Both: true, Run: joinSendLeave,
			Doc: "Goroutines that each join a group, see the message they send to it, and leave, do not disturb each other."},
		{Rule: 13, Name: "Rule13Concurrency/one_message_shared", Run: sharedMessage,
			Doc: "One message may be sent and read by many goroutines at once."},
	}
}

// concurrent is the common ground of the goroutines of everythingAtOnce.
type concurrent struct {
	c        *checker
	mu       sync.Mutex
	channels []string
}

// known are the errors that methods may return in everythingAtOnce.
var known = []error{layer.ErrChannelFull, layer.ErrChannelGone, layer.ErrForeignChannel, layer.ErrClosed, context.Canceled, errors.ErrUnsupported}

func everythingAtOnce(c *checker, goroutines, steps int) {
	reader, writer := c.pair(layer.Limits{Capacity: 10})
	s := &concurrent{c: c, channels: append(reader.mustNewChannels(5), "jobs", "mails")}
	seeds := c.random()
	var ends []chan struct{}
	for g := range goroutines {
		rng := rand.New(rand.NewPCG(seeds.Uint64(), seeds.Uint64()))
		p := reader
		if g%2 == 1 {
			p = writer
		}
		ends = append(ends, c.goroutine(fmt.Sprintf("goroutine %d of %d that call everything", g, goroutines), func() {
			for range steps {
				s.step(p, rng)
			}
		}))
	}
	// Half of them go on while the layers are being closed.
	for _, end := range ends[:goroutines/2] {
		c.wait(end, 2*callLimit)
	}
	for _, p := range []*proc{reader, writer} {
		if err := p.close(); err != nil {
			c.errorf("Close returned error %v", err)
		}
	}
	for _, end := range ends {
		c.wait(end, 2*callLimit)
	}
}

func (s *concurrent) pick(rng *rand.Rand) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.channels[rng.IntN(len(s.channels))]
}

// step makes one call.
func (s *concurrent) step(p *proc, rng *rand.Rand) {
	ch, group := s.pick(rng), fmt.Sprint("room", rng.IntN(3))
	ctx, cancel := context.WithCancel(s.c.ctx)
	defer cancel()
	op, err := "", error(nil)
	switch k := rng.IntN(100); {
	case k < 25:
		op, err = "Send", p.layer.Send(s.c.ctx, ch, numbered("w", k))
		s.c.checkOutcome(op, err)
	case k < 40:
		op, err = "GroupSend", p.layer.GroupSend(s.c.ctx, group, numbered("g", k))
		s.c.checkOutcome(op, err)
	case k < 65:
		op = "Receive"
		go cancel()
		_, err = p.layer.Receive(ctx, ch)
	case k < 72:
		op = "ReceiveBatch"
		go cancel()
		_, err = layer.ReceiveBatch(ctx, p.layer, ch, make([]layer.Message, 4))
	case k < 82:
		op, err = "GroupAdd", p.layer.GroupAdd(s.c.ctx, group, ch)
	case k < 89:
		op, err = "GroupDiscard", p.layer.GroupDiscard(s.c.ctx, group, ch)
	case k < 93:
		op = "NewChannel"
		var name string
		if name, err = p.layer.NewChannel(s.c.ctx, ""); err == nil {
			s.mu.Lock()
			s.channels[rng.IntN(5)] = name
			s.mu.Unlock()
		}
	case k < 96:
		if layer.IsProcessSpecific(ch) {
			op, err = "Release", layer.Release(s.c.ctx, p.layer, ch)
		}
	case k < 97:
		op, err = "Flush", layer.Flush(s.c.ctx, p.layer)
	case k < 98:
		op, err = "Ping", layer.Ping(s.c.ctx, p.layer)
	default:
		layer.ReadStats(p.layer)
	}
	if err != nil && !slices.ContainsFunc(known, func(e error) bool { return errors.Is(err, e) }) {
		s.c.fatalf("%s (channel %q, group %q) returned error %v, want nil or one of %v", op, ch, group, err, known)
	}
}

func joinSendLeave(c *checker) {
	const goroutines, rounds = 8, 30
	reader, writer := c.pair(layer.Limits{Capacity: 2 * goroutines * rounds})
	var ends []chan struct{}
	for g := range goroutines {
		ends = append(ends, c.goroutine(fmt.Sprintf("goroutine %d that joins, sends and leaves", g), func() {
			name := fmt.Sprint("w", g)
			ch, err := reader.layer.NewChannel(c.ctx, "")
			if err != nil {
				c.fatalf("NewChannel returned error %v", err)
			}
			for n := range rounds {
				if err := joinSendLeaveOnce(c, reader, writer, ch, name, n); err != nil {
					c.fatalf("%v", err)
				}
			}
		}))
	}
	for _, end := range ends {
		c.wait(end, 2*callLimit)
	}
}

// joinSendLeaveOnce returns what went wrong.
func joinSendLeaveOnce(c *checker, reader, writer *proc, ch, name string, n int) error {
	if err := reader.layer.GroupAdd(c.ctx, "room", ch); err != nil {
		return fmt.Errorf("GroupAdd(room, %q) returned error %w", ch, err)
	}
	if err := writer.layer.GroupSend(c.ctx, "room", numbered(name, n)); err != nil {
		return fmt.Errorf("GroupSend returned error %w", err)
	}
	for { // the messages of others come between
		msg, err := reader.layer.Receive(c.ctx, ch)
		if err != nil {
			return fmt.Errorf("member %q did not get message n:%d that it sent to its group: Receive returned error %w", ch, n, err)
		}
		if msg.String("from") == name {
			if msg.Int("n") != int64(n) {
				return fmt.Errorf("member %q got %v, want its message n:%d", ch, msg, n)
			}
			break
		}
	}
	if err := reader.layer.GroupDiscard(c.ctx, "room", ch); err != nil {
		return fmt.Errorf("GroupDiscard(room, %q) returned error %w", ch, err)
	}
	return nil
}

func sharedMessage(c *checker) {
	p := c.start(layer.Limits{})
	channels := p.mustNewChannels(8)
	p.mustGroupAdd("room", channels...)
	msg := layer.NewMessage(map[string]any{"type": "shared", "raw": []byte("raw"), "list": []any{"a", map[string]any{"k": 1}}})
	want := msg.Map()
	var ends []chan struct{}
	for _, ch := range channels {
		ends = append(ends, c.goroutine("a receiver of a shared message", func() {
			if err := p.layer.Send(c.ctx, ch, msg); err != nil {
				c.fatalf("Send(%q) returned error %v", ch, err)
			}
			for range 2 {
				got, err := p.layer.Receive(c.ctx, ch)
				if err != nil {
					c.fatalf("Receive(%q) returned error %v", ch, err)
				}
				copied := got.Map()
				copied["raw"].([]byte)[0] = 'X'
				clear(copied)
				if _, err := got.JSON(); err != nil || !got.Equal(layer.NewMessage(want)) {
					c.errorf("Receive(%q) returned %v (JSON error %v), want %v", ch, got, err, want)
				}
			}
		}))
	}
	p.mustGroupSend("room", msg)
	for _, end := range ends {
		c.wait(end, callLimit)
	}
}
