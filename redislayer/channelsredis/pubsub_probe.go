package channelsredis

import (
	"context"
	"strconv"
	"strings"
	"time"
)

// probeInterval is how often the way from this process through a host and back
// is tried.
const probeInterval = time.Second

// probe finds out at intervals whether what is published still comes. A
// connection on which nothing comes looks like one on which nothing was
// published, and a server or proxy that has forgotten the subscriptions may
// answer all else. So an echo is published, and when the server has it, a PING
// goes down the subscriber's connection: the answer must come, and after the
// echo. That needs no patience with a process or a server that is busy.
func (s *subscriber) probe(ctx context.Context) {
	tick := time.NewTicker(probeInterval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		s.mu.Lock()
		c := s.conn
		if !s.live {
			c = nil
		}
		s.mu.Unlock()
		if c == nil {
			continue
		}
		s.askAgain()
		begun := time.Now()
		m := &publish{echo: true, probe: true}
		sequence := uint64(0) // if the publisher is away: is the subscriber?
		limited, cancel := context.WithTimeout(ctx, s.h.l.options.Timeout)
		if s.h.pub.send(limited, m) == nil {
			sequence = m.sequence
		}
		cancel()
		s.mu.Lock()
		if s.conn == c {
			s.commands = append(s.commands, command{ping: pingText(sequence, begun)})
			nudge(s.wake)
		}
		s.mu.Unlock()
	}
}

// pingText is what a PING says: which echo comes before its answer, and that
// what was published before then has been handed over when it comes.
func pingText(sequence uint64, begun time.Time) string {
	return strconv.FormatUint(sequence, 10) + " " + strconv.FormatInt(begun.UnixNano(), 10)
}

// proved is told the answer to a PING. It reports whether the echo came.
func (s *subscriber) proved(text string) bool {
	sequence, begun, _ := strings.Cut(text, " ")
	n, _ := strconv.ParseUint(sequence, 10, 64)
	nanos, _ := strconv.ParseInt(begun, 10, 64)
	s.mu.Lock()
	defer s.mu.Unlock()
	if n > s.seen {
		return false
	}
	if at := time.Unix(0, nanos); at.After(s.complete) {
		s.complete = at
	}
	return true
}
