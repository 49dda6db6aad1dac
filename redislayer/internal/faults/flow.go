package faults

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/channellayer/channellayer/layer"
)

// sender sends numbered messages to one destination after the other.
type sender struct {
	w       *worker
	id      int
	sends   []Send // one goroutine's at a time
	slowest time.Duration
	sent    atomic.Int64
}

// run sends at the planned rate. After a send that took long it does not catch
// up by more than a tenth of a second.
func (s *sender) run(ctx context.Context) {
	p := s.w.plan
	interval := time.Duration(float64(time.Second) / p.Rate)
	due := time.Now()
	wait := time.NewTimer(0)
	defer wait.Stop()
	for n := 0; p.Limit == 0 || n < p.Limit; n++ {
		if early := time.Until(due); early > 0 {
			wait.Reset(early)
			select {
			case <-wait.C:
			case <-ctx.Done():
				return
			}
		} else if ctx.Err() != nil {
			return
		} else if early < -100*time.Millisecond {
			due = time.Now()
		}
		due = due.Add(interval)
		s.send(context.Background(), p.Order[(n+s.id)%len(p.Order)])
	}
}

func (s *sender) send(ctx context.Context, destination int) Outcome {
	d := s.w.plan.Destinations[destination]
	begin := time.Now()
	msg := layer.NewMessage(map[string]any{
		"type": "faults", "sender": s.id, "number": len(s.sends), "destination": destination, "at": begin.UnixNano(),
	})
	var err error
	if d.Kind == Group {
		err = s.w.bus.GroupSend(ctx, d.Name, msg)
	} else {
		err = s.w.bus.Send(ctx, d.Name, msg)
	}
	end := time.Now()
	outcome := outcomeOf(err)
	s.sends = append(s.sends, Send{destination, outcome, begin.UnixNano(), end.UnixNano()})
	s.slowest = max(s.slowest, end.Sub(begin))
	s.sent.Add(1)
	if err != nil {
		s.w.failed(err)
		if s.w.plan.Local[destination] && !errors.Is(err, layer.ErrChannelFull) {
			s.w.broken("a send between two channels of one process failed: %v", err)
		}
	}
	return outcome
}

func outcomeOf(err error) Outcome {
	not, maybe := errors.Is(err, layer.ErrNotSent), errors.Is(err, layer.ErrMaybeSent)
	switch {
	case err == nil:
		return Accepted
	case not && !maybe:
		return NotSent
	case maybe && !not:
		return MaybeSent
	}
	return Unclear
}

// reader receives on one channel.
type reader struct {
	w     *worker
	index int
	name  string

	mu       sync.Mutex
	receipts []Receipt
	latest   []int64 // by sender: when the latest message that came was sent
	marked   int64   // what marks are about
	marks    []int64 // by sender: when the first message came that it sent since marked, or 0
}

func (r *reader) run(ctx context.Context) {
	buf := make([]layer.Message, 1+15*(r.index%2)) // half of them receive batches
	for {
		n, err := r.w.bus.ReceiveBatch(ctx, r.name, buf)
		if err != nil {
			if ctx.Err() == nil {
				r.w.broken("Receive on %s failed: %v", r.name, err)
			}
			return
		}
		now := time.Now().UnixNano()
		r.mu.Lock()
		for _, msg := range buf[:n] {
			r.takeLocked(msg, now)
		}
		r.mu.Unlock()
	}
}

func (r *reader) takeLocked(msg layer.Message, now int64) {
	receipt := Receipt{-1, -1, -1}
	if msg.Type() == "faults" && msg.Has("sender") && msg.Has("number") && msg.Has("destination") {
		receipt = Receipt{int(msg.Int("sender")), int(msg.Int("number")), int(msg.Int("destination"))}
	}
	r.receipts = append(r.receipts, receipt)
	if receipt.Sender < 0 || receipt.Sender >= len(r.latest) {
		return
	}
	at := msg.Int("at")
	r.latest[receipt.Sender] = max(r.latest[receipt.Sender], at)
	if m := &r.marks[receipt.Sender]; *m == 0 && at >= r.marked {
		*m = now
	}
}

// since adds to the answer whom this channel has yet to hear of since then.
func (r *reader) since(at int64, a *answer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.marked != at {
		r.marked = at
		for sender, latest := range r.latest {
			r.marks[sender] = 0
			if latest >= at { // it came before this question
				r.marks[sender] = time.Now().UnixNano()
			}
		}
	}
	if !layer.IsProcessSpecific(r.name) { // any sender will do: it is shared with other readers
		first := int64(0)
		for _, m := range r.marks {
			if m != 0 && (first == 0 || m < first) {
				first = m
			}
		}
		if a.Met = max(a.Met, first); first == 0 {
			a.Missing++
			a.Example = "anybody to " + r.name
		}
		return
	}
	for sender, m := range r.marks {
		if a.Met = max(a.Met, m); m == 0 {
			a.Missing++
			a.Example = fmt.Sprintf("sender %d to %s", sender, r.name)
		}
	}
}
