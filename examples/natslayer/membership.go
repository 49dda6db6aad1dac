package natslayer

import (
	"context"
	"errors"
	"maps"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/channellayer/channellayer/layer"
)

func room(group string) interest { return interest{what: "group", name: group} }

// share is the interest of one of the processes through which a normal channel
// is a member: as a queue group they get each message once.
func share(group, channel string) interest { return interest{"group", group, token(channel)} }

// GroupAdd implements [layer.Layer]. It waits for the server where this layer
// gets its first member of the group, and for the other process where the
// channel is another's. With [layer.ErrUnavailable] it may have been done.
func (l *Layer) GroupAdd(ctx context.Context, group, channel string) error {
	if err := l.ready(ctx, layer.ValidateGroup(group), layer.ValidateChannel(channel)); err != nil {
		return err
	}
	group, channel = strings.Clone(group), strings.Clone(channel)
	i := room(group)
	switch {
	case !layer.IsProcessSpecific(channel):
		i = share(group, channel)
	case !l.owns(channel):
		return l.request(ctx, "add", group, channel)
	}
	l.mu.Lock()
	if i.queue == "" {
		l.groups.AddWith(group, channel, l.mailboxes.Ref(channel))
	} else {
		if l.adopted[group] == nil {
			l.adopted[group] = map[string]time.Time{}
		}
		l.adopted[group][channel] = time.Now().Add(l.limits.GroupExpiry)
	}
	s, err := l.subscribeLocked(i)
	l.mu.Unlock()
	// Looked at after adding: a channel that goes away at the same time is
	// either seen to be gone here, or leaves its groups after this.
	if i.queue == "" && !l.mailboxes.Has(channel) {
		l.leave(group, channel)
		return l.ready(ctx, layer.ErrChannelGone)
	}
	if err != nil {
		return l.problem(ctx, err)
	}
	if s.confirmed.Load() {
		return nil
	}
	if err = l.flush(ctx); err == nil {
		s.confirmed.Store(true)
	}
	return err
}

// GroupDiscard implements [layer.Layer]. For a normal channel all processes are
// told, since any may have added it.
func (l *Layer) GroupDiscard(ctx context.Context, group, channel string) error {
	if err := l.ready(ctx, layer.ValidateGroup(group), layer.ValidateChannel(channel)); err != nil {
		return err
	}
	switch {
	case !layer.IsProcessSpecific(channel):
		l.leave(group, channel)
		if err := l.conn.Publish(l.subject("all", "processes"), []byte(group+" "+channel)); err != nil {
			return l.problem(ctx, err)
		}
		return l.flush(ctx)
	case !l.owns(channel):
		err := l.request(ctx, "discard", group, channel)
		if errors.Is(err, layer.ErrChannelGone) {
			err = nil
		}
		return err
	}
	l.leave(group, channel)
	return nil
}

// request asks the channel's process to add or discard it. Doing so twice does
// no harm.
func (l *Layer) request(ctx context.Context, what, group, channel string) error {
	bounded, cancel := context.WithTimeout(ctx, l.options.Timeout)
	defer cancel()
	answer, err := l.conn.RequestWithContext(bounded, l.toProcess(processOf(channel), what, channel), []byte(group))
	switch {
	case errors.Is(err, nats.ErrNoResponders) || err == nil && string(answer.Data) == "gone":
		return layer.ErrChannelGone
	case err == nil && len(answer.Data) > 0:
		err = errors.New("the channel's process: " + string(answer.Data))
	}
	return l.problem(ctx, err)
}

// requested does what another process asked for. It may wait for the server.
func (l *Layer) requested(what, channel string, m *nats.Msg) {
	do := l.GroupAdd
	if what == "discard" {
		do = l.GroupDiscard
	}
	answer := ""
	if err := do(context.Background(), string(m.Data), channel); errors.Is(err, layer.ErrChannelGone) {
		answer = "gone"
	} else if err != nil {
		answer = err.Error()
	}
	m.Respond([]byte(answer))
}

// leave ends a membership in this layer.
func (l *Layer) leave(group, channel string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if layer.IsProcessSpecific(channel) {
		if l.groups.Discard(group, channel) {
			l.unsubscribeLocked(room(group))
		}
		return
	}
	l.unsubscribeLocked(share(group, channel))
	delete(l.adopted[group], channel)
	if len(l.adopted[group]) == 0 {
		delete(l.adopted, group)
	}
}

func (l *Layer) leaveAll(channel string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, group := range l.groups.DiscardChannel(channel) {
		l.unsubscribeLocked(room(group))
	}
}

func (l *Layer) sweepGroups() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, group := range l.groups.Sweep() {
		l.unsubscribeLocked(room(group))
	}
}

// adoptedIn returns the normal channels that are in the group through this
// layer.
func (l *Layer) adoptedIn(group string) (channels []string) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	for channel, until := range l.adopted[group] {
		if time.Now().Before(until) {
			channels = append(channels, channel)
		}
	}
	return channels
}

// endExpired ends memberships of normal channels, and forgets who was gone.
func (l *Layer) endExpired() {
	var expired [][2]string
	l.mu.Lock()
	for group, channels := range l.adopted {
		for channel, until := range channels {
			if time.Now().After(until) {
				expired = append(expired, [2]string{group, channel})
			}
		}
	}
	maps.DeleteFunc(l.gone, func(_ string, told time.Time) bool { return time.Since(told) > goneFor })
	l.mu.Unlock()
	for _, e := range expired {
		l.leave(e[0], e[1])
	}
}
