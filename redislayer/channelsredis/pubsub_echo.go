package channelsredis

import (
	"context"
	"errors"
	"strconv"

	"github.com/channellayer/channellayer/redislayer/channelsredis/internal/redisconn"
)

// settle waits until nothing that this process published can come here any more
// of which nobody knows whether it will: its caller had to leave before the echo
// came. What is sent after that and does not go through the same connection to
// Redis, which is but's if there is one, would overtake it. Almost always there is
// no such thing, and no wait.
func (l *PubSub) settle(ctx context.Context, but *pubsubHost) error {
	if !l.unsettled(but) {
		return nil
	}
	return within(ctx, l.options.Timeout, func(ctx context.Context) error {
		for _, h := range l.hosts {
			if h == but || h.pub.strays.Load() == 0 {
				continue
			}
			if err := h.echo(ctx); err != nil && h.pub.strays.Load() > 0 {
				return err
			}
		}
		return nil
	})
}

func (l *PubSub) unsettled(but *pubsubHost) bool {
	for _, h := range l.hosts {
		if h != but && h.pub.strays.Load() > 0 {
			return true
		}
	}
	return false
}

var errNoEcho = errors.New("what this process published to itself has not come back yet")

// echo makes a round trip from this process to itself: when it returns without an
// error, all that this process had published there has been handed over.
func (h *pubsubHost) echo(ctx context.Context) error {
	m := &publish{echo: true}
	err, _ := h.pub.try(ctx, m)
	if err == nil && !m.heard {
		return redisconn.Unavailable(errNoEcho)
	}
	return err
}

// heard are messages whose senders wait for an echo.
type heard struct {
	sequence uint64
	messages []*publish
}

// expect takes messages whose senders wait until this process has read an echo.
func (s *subscriber) expect(sequence uint64, messages []*publish) {
	s.mu.Lock()
	if read := sequence <= s.seen; s.conn == nil || read {
		s.mu.Unlock()
		s.h.pub.end(read, nil, false, messages)
		return
	}
	s.waiting = append(s.waiting, heard{sequence, messages})
	s.mu.Unlock()
}

// doubt takes note that what was published before that echo may still come, and
// nobody waits for it. It is over when that echo or a later one is read: a later
// one is published on the same connection, or on one before which that was ended
// at the server. It is over too when the subscriptions are lost: what comes then
// comes to nobody, and there are others only after what is lost was ended.
func (s *subscriber) doubt(sequence uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn == nil || sequence <= s.seen {
		return
	}
	if s.doubted == 0 {
		s.h.pub.strays.Add(1)
	}
	s.doubted = sequence
}

func (s *subscriber) endDoubtLocked() {
	if s.doubted > 0 {
		s.doubted = 0
		s.h.pub.strays.Add(-1)
	}
}

// echoed is told that an echo was read: all that was published before has been
// handed over. What this process has not published is somebody else's message,
// which says nothing.
func (s *subscriber) echoed(text string) {
	sequence, err := strconv.ParseUint(text, 10, 64)
	s.mu.Lock()
	if err != nil || sequence <= s.seen || sequence > s.h.pub.sequence.Load() {
		s.mu.Unlock()
		s.h.l.undecodable(s.h.l.echoChannel, undecodable("%.40q on the channel on which this process hears itself", text))
		return
	}
	s.seen = sequence
	if sequence >= s.doubted {
		s.endDoubtLocked()
	}
	n := 0
	for n < len(s.waiting) && s.waiting[n].sequence <= sequence {
		n++
	}
	waiting := s.waiting[:n]
	s.waiting = s.waiting[n:]
	s.mu.Unlock()
	s.release(true, waiting)
}

// release lets senders go who have got their echo, or will not get it.
func (s *subscriber) release(read bool, waiting []heard) {
	for _, w := range waiting {
		s.h.pub.end(read, nil, false, w.messages)
	}
}
