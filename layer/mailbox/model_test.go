package mailbox_test

import (
	"context"
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
