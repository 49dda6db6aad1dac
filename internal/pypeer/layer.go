package pypeer

import (
	"encoding/json"
	"strings"
	"time"
)

// Options are the settings of a Python layer. What is zero is left to Python's
// defaults.
type Options struct {
	Hosts           []string // URLs
	Prefix          string
	Expiry          time.Duration // whole seconds, as GroupExpiry
	GroupExpiry     time.Duration
	Capacity        int
	ChannelCapacity map[string]int
	Keys            []string // symmetric_encryption_keys

	// From 4.2.1 on; see HasSerializers. Besides channels_redis's own formats
	// there is "own", a serializer that is registered here: JSON in base64.
	SerializerFormat string
	NoRandomPrefix   bool // random_prefix_length is 0

	// In place of Hosts, the setting in Python's words.
	HostsSource Source

	// In place of Hosts, host:port of the sentinels that know where the server
	// is, and its name with them.
	Sentinels  []string
	MasterName string
}

func (o Options) settings() map[string]any {
	s := map[string]any{"hosts": o.Hosts}
	if o.HostsSource != "" {
		s["hosts"] = string(o.HostsSource)
	}
	if o.Sentinels != nil {
		var sentinels [][]string
		for _, addr := range o.Sentinels {
			host, port, _ := strings.Cut(addr, ":")
			sentinels = append(sentinels, []string{host, port})
		}
		s["hosts"] = []any{map[string]any{"sentinels": sentinels, "master_name": o.MasterName}}
	}
	if o.Prefix != "" {
		s["prefix"] = o.Prefix
	}
	if o.Expiry != 0 {
		s["expiry"] = int(o.Expiry / time.Second)
	}
	if o.GroupExpiry != 0 {
		s["group_expiry"] = int(o.GroupExpiry / time.Second)
	}
	if o.Capacity != 0 {
		s["capacity"] = o.Capacity
	}
	if o.ChannelCapacity != nil {
		s["channel_capacity"] = o.ChannelCapacity
	}
	if o.Keys != nil {
		s["symmetric_encryption_keys"] = o.Keys
	}
	if o.SerializerFormat != "" {
		s["serializer_format"] = o.SerializerFormat
	}
	if o.NoRandomPrefix {
		s["random_prefix_length"] = 0
	}
	return s
}

// Layer is a channel layer in a Python process.
type Layer struct {
	p    *Process
	name string
}

// Core makes a channels_redis.core.RedisChannelLayer.
func (p *Process) Core(o Options) *Layer { p.tb.Helper(); return p.layer("core", o) }

// PubSub makes a channels_redis.pubsub.RedisPubSubChannelLayer.
func (p *Process) PubSub(o Options) *Layer { p.tb.Helper(); return p.layer("pubsub", o) }

func (p *Process) layer(kind string, o Options) *Layer {
	p.tb.Helper()
	l := &Layer{p: p}
	result, err := p.call("layer", map[string]any{"kind": kind, "options": o.settings()})
	p.must("making the layer", err)
	p.must("making the layer", json.Unmarshal(result, &l.name))
	return l
}

// NewChannel makes a process-specific channel, with Python's default prefix.
func (l *Layer) NewChannel() (channel string) {
	l.p.tb.Helper()
	result, err := l.call("new_channel", map[string]any{"prefix": ""})
	l.p.must("new_channel", err)
	l.p.must("new_channel", json.Unmarshal(result, &channel))
	return channel
}

// Send sends a message.
func (l *Layer) Send(channel string, message any) {
	l.p.tb.Helper()
	l.p.must("send", l.TrySend(channel, message))
}

// TrySend is Send that returns what Python raised.
func (l *Layer) TrySend(channel string, message any) error {
	_, err := l.call("send", map[string]any{"channel": channel, "message": tagged(message)})
	return err
}

// Receive waits for a message. The timeout is Python's to keep: receive is
// cancelled then, and a TimeoutError is raised.
func (l *Layer) Receive(channel string, timeout time.Duration) map[string]any {
	l.p.tb.Helper()
	message, err := l.TryReceive(channel, timeout)
	l.p.must("receive", err)
	return message
}

// TryReceive is Receive that returns what Python raised.
func (l *Layer) TryReceive(channel string, timeout time.Duration) (map[string]any, error) {
	result, err := l.call("receive", map[string]any{"channel": channel, "timeout": timeout.Seconds()})
	if err != nil {
		return nil, err
	}
	v, err := untagged(result)
	message, _ := v.(map[string]any)
	return message, err
}

// GroupAdd adds a channel to a group.
func (l *Layer) GroupAdd(group, channel string) {
	l.p.tb.Helper()
	l.p.must("group_add", l.Try("group_add", map[string]any{"group": group, "channel": channel}))
}

// GroupDiscard removes a channel from a group.
func (l *Layer) GroupDiscard(group, channel string) {
	l.p.tb.Helper()
	l.p.must("group_discard", l.Try("group_discard", map[string]any{"group": group, "channel": channel}))
}

// GroupSend sends a message to a group.
func (l *Layer) GroupSend(group string, message any) {
	l.p.tb.Helper()
	l.p.must("group_send", l.TryGroupSend(group, message))
}

// TryGroupSend is GroupSend that returns what Python raised.
func (l *Layer) TryGroupSend(group string, message any) error {
	return l.Try("group_send", map[string]any{"group": group, "message": tagged(message)})
}

// Capacity is what Core's get_capacity says of a channel.
func (l *Layer) Capacity(channel string) (capacity int) {
	l.p.tb.Helper()
	result, err := l.call("capacity", map[string]any{"channel": channel})
	l.p.must("get_capacity", err)
	l.p.must("get_capacity", json.Unmarshal(result, &capacity))
	return capacity
}

// Flush flushes the layer.
func (l *Layer) Flush() {
	l.p.tb.Helper()
	l.p.must("flush", l.Try("flush", nil))
}

// SendMany sends count messages one after another, as fast as Python can: the
// fields of message, and in "n" the numbers from first on.
func (l *Layer) SendMany(channel string, first, count int, message any) error {
	return l.Try("send_many", map[string]any{"channel": channel, "group": "", "first": first, "count": count, "message": tagged(message)})
}

// GroupSendMany is SendMany to a group.
func (l *Layer) GroupSendMany(group string, first, count int, message any) error {
	return l.Try("send_many", map[string]any{"channel": "", "group": group, "first": first, "count": count, "message": tagged(message)})
}

// ReceiveMany receives until there are count messages, or none came for timeout,
// and returns their fields "n" in order of arrival.
func (l *Layer) ReceiveMany(channel string, count int, timeout time.Duration) (numbers []int, err error) {
	result, err := l.call("receive_many", map[string]any{"channel": channel, "count": count, "timeout": timeout.Seconds()})
	if err != nil {
		return nil, err
	}
	err = json.Unmarshal(result, &numbers)
	return numbers, err
}

// Try runs one of new_channel, group_add, group_discard and flush with arguments
// named as in Python, and returns what it raised.
func (l *Layer) Try(op string, args map[string]any) error {
	_, err := l.call(op, args)
	return err
}

func (l *Layer) call(op string, args map[string]any) (json.RawMessage, error) {
	all := map[string]any{"layer": l.name}
	for key, v := range args {
		all[key] = v
	}
	return l.p.call(op, all)
}

// Worker receives on one channel, in the background.
type Worker struct {
	p    *Process
	name string
}

// StartWorker starts a loop that receives on the channel. It answers a message
// that has a field "reply_to" there, with {"type": "reply", "n": the message's}.
func (l *Layer) StartWorker(channel string) *Worker {
	l.p.tb.Helper()
	w := &Worker{p: l.p}
	result, err := l.call("start_worker", map[string]any{"channel": channel})
	l.p.must("start_worker", err)
	l.p.must("start_worker", json.Unmarshal(result, &w.name))
	return w
}

// Received is how many messages the worker has received so far.
func (w *Worker) Received() (n int) {
	w.p.tb.Helper()
	result, err := w.p.call("received", map[string]any{"worker": w.name})
	w.p.must("received", err)
	w.p.must("received", json.Unmarshal(result, &n))
	return n
}

// Stop cancels the worker, and returns what it received.
func (w *Worker) Stop() (messages []map[string]any) {
	w.p.tb.Helper()
	result, err := w.p.call("stop_worker", map[string]any{"worker": w.name})
	w.p.must("stop_worker", err)
	v, err := untagged(result)
	w.p.must("stop_worker", err)
	list, _ := v.([]any)
	for _, m := range list {
		message, _ := m.(map[string]any)
		messages = append(messages, message)
	}
	return messages
}
