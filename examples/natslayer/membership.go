package natslayer

import (
	"context"
	"errors"

	"github.com/nats-io/nats.go"

	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/layer/process"
)

// GroupAdd implements [layer.Layer]. It waits for the server where this layer
// gets its first member of the group, and for the other process where the
// channel is another's. With [layer.ErrUnavailable] it may have been done.
func (l *Layer) GroupAdd(ctx context.Context, group, channel string) error {
	if err := l.process.Check(ctx, layer.ValidateGroup(group), layer.ValidateChannel(channel)); err != nil {
		return err
	}
	if layer.IsProcessSpecific(channel) && !l.process.Owns(channel) {
		return l.request(ctx, "add", group, channel)
	}
	if err := l.process.Join(group, channel); err != nil {
		return err
	}
	s, err := l.listen(group, channel)
	if err != nil || s == nil || s.confirmed.Load() {
		return l.problem(ctx, err)
	}
	err = l.flush(ctx)
	s.confirmed.Store(err == nil)
	return err
}

// listen makes the subscription agree with the memberships: one for all members
// here, and one for each normal channel, where those processes through which it
// is a member are a queue group, of which each message goes to one.
func (l *Layer) listen(group, channel string) (*subscription, error) {
	queue, needed := "", func() bool { return l.process.Groups().Len(group) > 0 }
	if !layer.IsProcessSpecific(channel) {
		queue, needed = token(channel), func() bool { return l.process.Adopted().Has(group, channel) }
	}
	return l.subscribe(l.subject("group", group), queue, needed)
}

// GroupDiscard implements [layer.Layer]. For a normal channel all processes are
// told, since any may have added it.
func (l *Layer) GroupDiscard(ctx context.Context, group, channel string) error {
	if err := l.process.Check(ctx, layer.ValidateGroup(group), layer.ValidateChannel(channel)); err != nil {
		return err
	}
	switch {
	case !layer.IsProcessSpecific(channel):
		l.leave(group, channel)
		if err := l.conn.Publish(l.subject("all", "processes"), []byte(group+" "+channel)); err != nil {
			return l.problem(ctx, err)
		}
		return l.flush(ctx)
	case !l.process.Owns(channel):
		if err := l.request(ctx, "discard", group, channel); !errors.Is(err, layer.ErrChannelGone) {
			return err
		}
		return nil
	}
	l.leave(group, channel)
	return nil
}

// leave ends a membership in this layer.
func (l *Layer) leave(group, channel string) {
	l.process.Leave(group, channel)
	l.listen(group, channel)
}

// request asks the channel's process to add or discard it. Doing so twice does
// no harm.
func (l *Layer) request(ctx context.Context, what, group, channel string) error {
	bounded, cancel := context.WithTimeout(ctx, l.options.Timeout)
	defer cancel()
	answer, err := l.conn.RequestWithContext(bounded, l.toProcess(process.Of(channel), what, channel), []byte(group))
	switch {
	case errors.Is(err, nats.ErrNoResponders) || err == nil && string(answer.Data) == layer.ErrChannelGone.Error():
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
	err := do(context.Background(), string(m.Data), channel)
	if errors.Is(err, layer.ErrClosed) {
		err = layer.ErrChannelGone
	}
	answer := ""
	if err != nil {
		answer = err.Error()
	}
	m.Respond([]byte(answer))
}
