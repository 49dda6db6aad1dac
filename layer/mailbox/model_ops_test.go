package mailbox_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing/synctest"
	"time"

	"github.com/channellayer/channellayer/layer"
)

func (r *run) put(channel string, age time.Duration, put func(string, layer.Message, time.Duration) error) error {
	got := put(channel, numbered(int(r.sent)+1), age)
	want, err := r.wasPut(channel, age)
	if err == nil && !errors.Is(got, want) {
		return fmt.Errorf("Put returned %v, want %v", got, want)
	}
	return err
}

// wasPut does in the model what a put of the next message should do, and returns
// what that should return.
func (r *run) wasPut(channel string, age time.Duration) (want, err error) {
	m := &r.model
	r.sent++
	c := m.channel(channel)
	switch {
	case c == nil:
		return layer.ErrChannelGone, nil
	case age >= expiry:
		m.stats.Accepted++
		m.stats.Dropped[layer.DropExpired]++
	case len(c.waiting) > 0:
		return nil, r.handedOver(c)
	case c.full():
		return layer.ErrChannelFull, nil
	default:
		r.queued(c, age, false)
	}
	return nil, nil
}

// fanAll puts several messages together. Where several receivers wait there are
// no more messages than these: who of them gets the others would depend on who
// wakes up first.
func (r *run) fanAll(st step) error {
	m := &r.model
	count, room := st.n+1, 1
	if c := m.channels[st.channel]; c != nil && len(c.waiting) > 1 {
		count = min(count, len(c.waiting))
	} else if c != nil && len(c.waiting) == 1 {
		room = r.rooms[c.waiting[0]]
	}
	messages := make([]layer.Message, count)
	for i := range messages {
		messages[i] = numbered(int(r.sent) + 1 + i)
	}
	fan := r.set.FanAll(messages, st.d)
	taken, got := fan.PutAll(st.channel, r.refs[st.channel])
	before, last := m.stats.Accepted, r.sent+int64(count)
	var want error
	wantTaken := 0
	for ; wantTaken < count && want == nil; wantTaken++ {
		var err error
		if want, err = r.wasPut(st.channel, st.d); err != nil {
			return err
		}
	}
	if want != nil {
		wantTaken--
	}
	r.sent = last
	m.stats.Fanned += m.stats.Accepted - before
	if room > 1 { // the one who waited took as many as there was room for
		c := m.channels[st.channel]
		if more := min(room-1, len(c.unread)); more > 0 {
			c.unread, c.asked = c.unread[more:], true
			m.stats.Received += uint64(more)
		}
	}
	if taken != wantTaken || !errors.Is(got, want) {
		return fmt.Errorf("PutAll of %d returned %d and %v, want %d and %v", count, taken, got, wantTaken, want)
	}
	return nil
}

// giveBack returns a message, which need not have been taken.
func (r *run) giveBack(channel string, age time.Duration) error {
	m := &r.model
	r.sent++
	got := r.set.Return(channel, numbered(int(r.sent)), age)
	c := m.channel(channel)
	var want error
	switch {
	case c == nil:
		want = layer.ErrChannelGone
	case age >= expiry:
		m.stats.Accepted++
		m.stats.Dropped[layer.DropExpired]++
	case len(c.waiting) > 0:
		if err := r.handedOver(c); err != nil {
			return err
		}
	default:
		r.queued(c, age, false)
		last := len(c.unread) - 1
		c.unread = slices.Insert(c.unread[:last:last], 0, c.unread[last])
	}
	if !errors.Is(got, want) {
		return fmt.Errorf("Return returned %v, want %v", got, want)
	}
	return nil
}

func (r *run) notify(channel string) error {
	r.sent++
	c := r.model.channels[channel]
	exists := c != nil && c.specific
	if got := r.set.Notify(channel, numbered(int(r.sent))); got != exists {
		return fmt.Errorf("Notify is %v, want %v", got, exists)
	}
	switch {
	case !exists || c.unreadNotice():
	case len(c.waiting) > 0:
		return r.handedOver(c)
	default:
		r.queued(c, 0, true)
	}
	return nil
}

// queued takes note that the channel got the last message sent.
func (r *run) queued(c *modelChannel, age time.Duration, notice bool) {
	r.model.stats.Accepted++
	c.unread = append(c.unread, modelMessage{r.sent, r.model.now - age, notice})
	if c.asked {
		c.asked, c.quiet = false, r.model.now
	}
}

// handedOver checks that the channel's first receiver got the last message
// sent.
func (r *run) handedOver(c *modelChannel) error {
	r.model.stats.Accepted++
	r.model.stats.Received++
	who := c.waiting[0]
	c.waiting = c.waiting[1:]
	if res := <-r.results[who]; res.err != nil || res.n != r.sent {
		return fmt.Errorf("receiver %d got %d and %v, want %d", who, res.n, res.err, r.sent)
	}
	return nil
}

// receive receives at once where the model says that there is something, and
// otherwise starts a receiver that waits.
func (r *run) receive(st step) error {
	m := &r.model
	room := 1
	if st.op == "batch" {
		room += st.n
	}
	c := m.channel(st.channel)
	var want []int64
	if c != nil {
		c.asked = true
		for len(want) < room && len(c.unread) > 0 {
			if first := c.unread[0]; m.now-first.accepted < expiry {
				want = append(want, first.n)
			} else {
				m.stats.Dropped[layer.DropExpired]++
			}
			c.unread = c.unread[1:]
		}
		m.stats.Received += uint64(len(want))
		if len(want) == 0 {
			who := len(r.results)
			c.waiting = append(c.waiting, who)
			ctx, cancel := context.WithCancel(r.t.Context())
			r.cancels = append(r.cancels, cancel)
			r.results = append(r.results, make(chan result, 1))
			r.rooms = append(r.rooms, room)
			go func() {
				buf := make([]layer.Message, room)
				_, err := r.set.ReceiveBatch(ctx, st.channel, buf)
				r.results[who] <- result{who, buf[0].Int("n"), err}
			}()
			synctest.Wait()
			return nil
		}
	}
	buf := make([]layer.Message, room)
	n, err := r.set.ReceiveBatch(r.t.Context(), st.channel, buf)
	if c == nil {
		if !errors.Is(err, layer.ErrChannelGone) {
			return fmt.Errorf("ReceiveBatch returned %v, want %v", err, layer.ErrChannelGone)
		}
		return nil
	}
	if got := numbers(buf[:n]); err != nil || !slices.Equal(got, want) {
		return fmt.Errorf("ReceiveBatch returned %v and %v, want %v", got, err, want)
	}
	return nil
}

func (r *run) ended(receivers []int, want error) error {
	for _, who := range receivers {
		if res := <-r.results[who]; !errors.Is(res.err, want) {
			return fmt.Errorf("receiver %d ended with %v, want %v", who, res.err, want)
		}
	}
	return nil
}
