package mailbox_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/layer/mailbox"
)

// The model is what package mailbox promises, written to be obviously right:
// time is a number, and every channel is looked at after every step.
type model struct {
	now      time.Duration
	channels map[string]*modelChannel
	stats    mailbox.Stats
}

type modelChannel struct {
	specific bool
	unread   []modelMessage
	waiting  []int // receivers
	asked    bool  // somebody has called Receive since
	quiet    time.Duration
}

type modelMessage struct {
	n        int64
	accepted time.Duration
	notice   bool
}

// unreadNotice reports whether one of the channel's messages is a notice.
func (c *modelChannel) unreadNotice() bool {
	return slices.ContainsFunc(c.unread, func(m modelMessage) bool { return m.notice })
}

// full reports whether capacity messages, notices not counted, are unread.
func (c *modelChannel) full() bool {
	n := len(c.unread)
	if c.unreadNotice() {
		n--
	}
	return n >= modelCapacity
}

const modelCapacity = 5

// expire drops what is too old at the head of each queue.
func (m *model) expire() {
	for name, c := range m.channels {
		abandoned := c.specific && !c.asked && m.now-c.quiet >= expiry
		for len(c.unread) > 0 && m.now-c.unread[0].accepted >= expiry {
			c.unread = c.unread[1:]
			m.stats.Dropped[layer.DropExpired]++
		}
		if abandoned {
			m.stats.Dropped[layer.DropExpired] += uint64(len(c.unread))
			m.stats.Abandoned++
			delete(m.channels, name)
		}
	}
}

func (m *model) channel(name string) *modelChannel {
	if m.channels[name] == nil && !layer.IsProcessSpecific(name) {
		m.channels[name] = &modelChannel{asked: true}
	}
	return m.channels[name]
}

// step is one random operation.
type step struct {
	op      string
	channel string
	n       int // of a message, a receiver, or the room in a batch
	d       time.Duration
}

var steps = rapid.Custom(func(t *rapid.T) step {
	return step{
		op:      rapid.SampledFrom([]string{"put", "put", "put", "aged", "ref", "fan", "fan", "fan all", "fan all", "return", "notify", "hand over", "receive", "receive", "batch", "cancel", "cancel", "sleep", "sleep", "open", "release", "clear"}).Draw(t, "op"),
		channel: rapid.SampledFrom([]string{specific, "second!one", normal}).Draw(t, "channel"),
		n:       rapid.IntRange(0, 3).Draw(t, "n"),
		d:       rapid.SampledFrom([]time.Duration{0, 1, time.Second / 3, expiry / 3, expiry / 2, expiry - 1, expiry, expiry + time.Second}).Draw(t, "d"),
	}
})

func TestModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		script := rapid.SliceOfN(steps, 50, 200).Draw(rt, "script")
		var err error
		synctest.Test(t, func(t *testing.T) { err = runScript(t, script) })
		if err != nil {
			rt.Fatal(err)
		}
	})
}

// run is a Set beside its model.
type run struct {
	t       *testing.T
	set     *mailbox.Set
	model   model
	sent    int64
	refs    map[string]mailbox.Ref // as of some time before, or none
	cancels []context.CancelFunc
	results []chan result // by receiver
	rooms   []int         // of the receivers' batches
}

func runScript(t *testing.T, script []step) error {
	set, err := mailbox.New(mailbox.Options{Limits: layer.Limits{Capacity: modelCapacity, Expiry: expiry}})
	if err != nil {
		return err
	}
	defer set.Close()
	r := &run{t: t, set: set, model: model{channels: map[string]*modelChannel{}}, refs: map[string]mailbox.Ref{}}
	script = append([]step{{op: "open", channel: specific}, {op: "open", channel: "second!one"}}, script...)
	for i, st := range script {
		err := r.step(st)
		if err == nil {
			err = r.compare()
		}
		if err != nil {
			return fmt.Errorf("step %d, %+v: %w", i, st, err)
		}
	}
	return nil
}

func (r *run) step(st step) error {
	m := &r.model
	m.expire()
	switch st.op {
	case "sleep":
		time.Sleep(st.d)
		m.now += st.d
		m.expire()
	case "open":
		if layer.IsProcessSpecific(st.channel) {
			if m.channels[st.channel] == nil {
				m.channels[st.channel] = &modelChannel{specific: true, asked: true}
			}
			return r.set.Open(st.channel)
		}
	case "release":
		c := m.channels[st.channel]
		exists := c != nil && c.specific
		if got := r.set.Release(st.channel); got != exists {
			return fmt.Errorf("Release is %v, want %v", got, exists)
		}
		if exists {
			m.stats.Dropped[layer.DropClosed] += uint64(len(c.unread))
			delete(m.channels, st.channel)
			return r.ended(c.waiting, layer.ErrChannelGone)
		}
	case "clear":
		r.set.Clear()
		for _, c := range m.channels {
			m.stats.Dropped[layer.DropClosed] += uint64(len(c.unread))
			c.unread, c.asked = nil, true
		}
	case "cancel":
		for _, c := range m.channels {
			if i := slices.Index(c.waiting, st.n); i >= 0 {
				c.waiting = slices.Delete(c.waiting, i, i+1)
				r.cancels[st.n]()
				return r.ended([]int{st.n}, context.Canceled)
			}
		}
	case "put":
		return r.put(st.channel, 0, r.set.PutAged)
	case "return":
		return r.giveBack(st.channel, st.d)
	case "aged":
		return r.put(st.channel, st.d, r.set.PutAged)
	case "ref":
		r.refs[st.channel] = r.set.Ref(st.channel)
	case "fan":
		before := m.stats.Accepted
		err := r.put(st.channel, st.d, func(channel string, msg layer.Message, age time.Duration) error {
			fan := r.set.Fan(msg, age)
			return fan.Put(channel, r.refs[channel])
		})
		m.stats.Fanned += m.stats.Accepted - before
		return err
	case "fan all":
		return r.fanAll(st)
	case "notify":
		return r.notify(st.channel)
	case "hand over":
		r.sent++
		c := m.channels[st.channel]
		waits := c != nil && len(c.waiting) > 0
		if got := r.set.HandOver(st.channel, numbered(int(r.sent))); got != waits {
			return fmt.Errorf("HandOver is %v, want %v", got, waits)
		}
		if waits {
			return r.handedOver(c)
		}
	case "receive", "batch":
		return r.receive(st)
	}
	return nil
}

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

// open is the process-specific channels of the model, sorted.
func (m *model) open() []string {
	var names []string
	for name, c := range m.channels {
		if c.specific {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// compare looks at everything that can be seen from outside.
func (r *run) compare() error {
	r.model.expire()
	for _, name := range []string{specific, "second!one", normal} {
		c := r.model.channels[name]
		if c == nil {
			c = &modelChannel{}
		}
		if got := r.set.Len(name); got != len(c.unread) {
			return fmt.Errorf("Len(%q) is %d, want %d", name, got, len(c.unread))
		}
		if got := r.set.Waiting(name); got != len(c.waiting) {
			return fmt.Errorf("Waiting(%q) is %d, want %d", name, got, len(c.waiting))
		}
		if exists := r.model.channels[name] != nil; layer.IsProcessSpecific(name) && r.set.Has(name) != exists {
			return fmt.Errorf("Has(%q) is %v, want %v", name, !exists, exists)
		}
	}
	if got, want := slices.Sorted(r.set.Channels()), r.model.open(); !slices.Equal(got, want) {
		return fmt.Errorf("Channels visits %q, want %q", got, want)
	}
	if got := r.set.Stats(); got != r.model.stats {
		return fmt.Errorf("Stats are %+v, want %+v", got, r.model.stats)
	}
	return nil
}
