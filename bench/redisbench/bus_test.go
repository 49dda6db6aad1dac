//go:build unix

package redisbench

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/rueidis"

	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/layer/codec"
	"github.com/channellayer/channellayer/redislayer"
)

// bus is what the benchmarks need of each side: one connected process.
type bus interface {
	// join makes a member of the groups, which receives in one goroutine. A
	// member of none is one that is sent to by its address.
	join(groups []string) (member, error)
	// ready returns when all that was joined will get what is sent from now on.
	ready(ctx context.Context) error
	send(ctx context.Context, address string) error
	// sendStamped sends with the time now in the message, and is otherwise send.
	sendStamped(ctx context.Context, address string) error
	groupSend(ctx context.Context, group string) error
	// dropped returns how many messages were given up here, and why.
	dropped() string
}

type member interface {
	address() string
	receive(ctx context.Context) (payload, error)
}

// payload is what a member receives: msg of a layer, text otherwise.
type payload struct {
	msg  layer.Message
	text string
}

// sentAt is the time at which it was sent, if that is in it.
func (p payload) sentAt() int64 {
	if p.text != "" {
		return int64(binary.LittleEndian.Uint64([]byte(p.text[:8])))
	}
	return p.msg.Int("at")
}

// messageSize is the size of every message, in bytes of msgpack.
const messageSize = 173

// newMessage makes a message that a chat might send.
func newMessage(at int64) layer.Message {
	const padding = "A sentence of the length that people write when they talk to each other about the plans for their day."
	return layer.NewMessage(map[string]any{"type": "chat.message", "room": "the lobby", "name": "Ada Lovelace", "text": padding, "at": at})
}

// checkSize is called once a worker, so that no edit to newMessage goes unseen.
func checkSize() error {
	if n := newMessage(time.Now().UnixNano()).Size(); n != messageSize {
		return fmt.Errorf("the message has %d bytes, not %d", n, messageSize)
	}
	return nil
}

func openBus(kind, addr, prefix string, capacity int) (bus, error) {
	switch kind {
	case redisLayer:
		return openLayer(addr, prefix, capacity)
	case goRedis:
		return openGoRedis(addr, prefix, capacity), nil
	case rueidisBus:
		return openRueidis(addr, prefix, capacity)
	}
	return nil, fmt.Errorf("no bus is called %q", kind)
}

// layered is redislayer.
type layered struct {
	layer *redislayer.Layer
	msg   layer.Message
}

func openLayer(addr, prefix string, capacity int) (*layered, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	l, err := redislayer.Open(ctx, "redis://"+addr, redislayer.Options{Prefix: prefix, Limits: layer.Limits{Capacity: capacity}})
	return &layered{l, newMessage(time.Now().UnixNano())}, err
}

func (l *layered) join(groups []string) (member, error) {
	name, err := l.layer.NewChannel(context.Background(), "")
	if err != nil {
		return nil, err
	}
	for _, group := range groups {
		if err := l.layer.GroupAdd(context.Background(), group, name); err != nil {
			return nil, err
		}
	}
	return &layerMember{l.layer, name}, nil
}

func (l *layered) ready(context.Context) error { return nil } // GroupAdd returned

func (l *layered) send(ctx context.Context, address string) error {
	return l.layer.Send(ctx, address, l.msg)
}

func (l *layered) sendStamped(ctx context.Context, address string) error {
	return l.layer.Send(ctx, address, newMessage(time.Now().UnixNano()))
}

func (l *layered) groupSend(ctx context.Context, group string) error {
	return l.layer.GroupSend(ctx, group, l.msg)
}

func (l *layered) dropped() string {
	stats := l.layer.Stats()
	if stats.Dropped == (layer.Drops{}) && stats.Gaps == 0 {
		return ""
	}
	return fmt.Sprintf("dropped %v, gaps %d", stats.Dropped, stats.Gaps)
}

type layerMember struct {
	layer *redislayer.Layer
	name  string
}

func (m *layerMember) address() string { return m.name }

func (m *layerMember) receive(ctx context.Context) (payload, error) {
	msg, err := m.layer.Receive(ctx, m.name)
	return payload{msg: msg}, err
}

// fanout is what a program without a layer would write behind its subscription:
// a buffered Go channel for each member, a map from subject to members, select
// with default. It knows no expiry, no names to check, no leaving.
type fanout struct {
	prefix   string
	capacity int

	mu      sync.RWMutex
	members map[string][]chan string // by subject

	lost atomic.Uint64
}

func newFanout(prefix string, capacity int) *fanout {
	return &fanout{prefix: prefix, capacity: capacity, members: map[string][]chan string{}}
}

// join makes a member and returns the subjects that were not subscribed to.
func (f *fanout) join(groups []string) (m *rawMember, subjects []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	m = &rawMember{messages: make(chan string, f.capacity)}
	if len(groups) == 0 {
		m.subject = "member." + rand.Text()
		groups = []string{m.subject}
	}
	for _, group := range groups {
		subject := f.prefix + ":" + group
		if f.members[subject] == nil {
			subjects = append(subjects, subject)
		}
		f.members[subject] = append(f.members[subject], m.messages)
	}
	return m, subjects
}

// deliver is called by the one goroutine that reads the subscription.
func (f *fanout) deliver(subject, text string) {
	f.mu.RLock()
	members := f.members[subject]
	f.mu.RUnlock()
	for _, c := range members {
		select {
		case c <- text:
		default:
			f.lost.Add(1)
		}
	}
}

func (f *fanout) dropped() string {
	if n := f.lost.Load(); n > 0 {
		return fmt.Sprintf("%d messages met a full member", n)
	}
	return ""
}

type rawMember struct {
	subject  string
	messages chan string
}

func (m *rawMember) address() string { return m.subject }

func (m *rawMember) receive(ctx context.Context) (payload, error) {
	select {
	case text := <-m.messages:
		return payload{text: text}, nil
	case <-ctx.Done():
		return payload{}, ctx.Err()
	}
}

// rawPayload is as long as a layer's message.
func rawPayload() string {
	b, err := codec.Encode(newMessage(time.Now().UnixNano()))
	if err != nil {
		panic(err)
	}
	return string(b)
}

func stamped(text string) string {
	b := []byte(text)
	binary.LittleEndian.PutUint64(b, uint64(time.Now().UnixNano()))
	return string(b)
}

// plain is go-redis with its defaults. The subscription is read by Receive,
// which is cheaper than PubSub.Channel by one goroutine.
type plain struct {
	*fanout
	client    *redis.Client
	pubsub    *redis.PubSub
	asked     atomic.Int64 // subjects
	confirmed atomic.Int64
	text      string
}

func openGoRedis(addr, prefix string, capacity int) *plain {
	client := redis.NewClient(&redis.Options{Addr: addr})
	p := &plain{fanout: newFanout(prefix, capacity), client: client, pubsub: client.Subscribe(context.Background()), text: rawPayload()}
	return p
}

func (p *plain) join(groups []string) (member, error) {
	m, subjects := p.fanout.join(groups)
	if len(subjects) == 0 {
		return m, nil
	}
	first := p.asked.Add(int64(len(subjects))) == int64(len(subjects))
	if err := p.pubsub.Subscribe(context.Background(), subjects...); err != nil {
		return nil, err
	}
	if first {
		go p.read()
	}
	return m, nil
}

func (p *plain) read() {
	for {
		message, err := p.pubsub.Receive(context.Background())
		switch m := message.(type) {
		case *redis.Subscription:
			p.confirmed.Add(1)
		case *redis.Message:
			p.deliver(m.Channel, m.Payload)
		}
		if err != nil {
			panic(err) // the benchmark's connection does not break
		}
	}
}

func (p *plain) ready(ctx context.Context) error { return await(ctx, &p.confirmed, &p.asked) }

func (p *plain) send(ctx context.Context, address string) error {
	return p.client.Publish(ctx, p.prefix+":"+address, p.text).Err()
}

func (p *plain) sendStamped(ctx context.Context, address string) error {
	return p.client.Publish(ctx, p.prefix+":"+address, stamped(p.text)).Err()
}

func (p *plain) groupSend(ctx context.Context, group string) error { return p.send(ctx, group) }

// pipelined is rueidis, which pipelines what concurrent callers send, with its
// defaults. The subscription's hook is called by the goroutine that reads the
// connection, which is cheaper than Client.Receive by one goroutine.
type pipelined struct {
	*fanout
	client    rueidis.Client
	dedicated rueidis.DedicatedClient
	asked     atomic.Int64
	confirmed atomic.Int64
	text      string
}

func openRueidis(addr, prefix string, capacity int) (*pipelined, error) {
	client, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{addr}, DisableCache: true})
	if err != nil {
		return nil, err
	}
	p := &pipelined{fanout: newFanout(prefix, capacity), client: client, text: rawPayload()}
	return p, nil
}

func (p *pipelined) join(groups []string) (member, error) {
	m, subjects := p.fanout.join(groups)
	if len(subjects) == 0 {
		return m, nil
	}
	if p.asked.Add(int64(len(subjects))) == int64(len(subjects)) {
		p.dedicated, _ = p.client.Dedicate()
		p.dedicated.SetPubSubHooks(rueidis.PubSubHooks{
			OnMessage:      func(m rueidis.PubSubMessage) { p.deliver(m.Channel, m.Message) },
			OnSubscription: func(rueidis.PubSubSubscription) { p.confirmed.Add(1) },
		})
	}
	return m, p.dedicated.Do(context.Background(), p.dedicated.B().Subscribe().Channel(subjects...).Build()).Error()
}

func (p *pipelined) ready(ctx context.Context) error { return await(ctx, &p.confirmed, &p.asked) }

func (p *pipelined) send(ctx context.Context, address string) error {
	return p.publish(ctx, address, p.text)
}

func (p *pipelined) sendStamped(ctx context.Context, address string) error {
	return p.publish(ctx, address, stamped(p.text))
}

func (p *pipelined) groupSend(ctx context.Context, group string) error {
	return p.publish(ctx, group, p.text)
}

func (p *pipelined) publish(ctx context.Context, address, text string) error {
	return p.client.Do(ctx, p.client.B().Publish().Channel(p.prefix+":"+address).Message(text).Build()).Error()
}

// await waits until confirmed has come up to asked.
func await(ctx context.Context, confirmed, asked *atomic.Int64) error {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for confirmed.Load() < asked.Load() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%d of %d subscriptions were confirmed: %w", confirmed.Load(), asked.Load(), ctx.Err())
		}
	}
	return nil
}

// groupName returns the name of a group.
func groupName(g int) string { return fmt.Sprintf("room.%d", g) }
