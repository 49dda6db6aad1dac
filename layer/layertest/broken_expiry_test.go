package layertest

import (
	"context"
	"sync"
	"time"

	"github.com/channellayer/channellayer/layer"
)

// brokenExpiry breaks rules 6 and 8: expiry and size.
var brokenExpiry = []broken{
	{name: "messages do not expire",
		must: []string{"Model/*", "Rule06Expiry/not_delivered_after*"},
		may:  []string{"Rule05Capacity/expired_messages_make_room*", "Rule06Expiry/*", "Rule12NothingSilent/books_balance*", "Rule12NothingSilent/reasons", "Rule12NothingSilent/stats"},
		wrap: func(m *making) layer.Layer {
			return m.withLimits(func(l *layer.Limits) { l.Expiry *= 1000 })
		}},
	{name: "messages expire after half the time",
		must: []string{"Rule06Expiry/delivered_before*"},
		may:  []string{"Rule05Capacity/expired_messages_make_room*", "Rule06Expiry/each_at_its_own_time*", "Rule06Expiry/own_channel_with_reader*"},
		wrap: func(m *making) layer.Layer {
			return m.withLimits(func(l *layer.Limits) { l.Expiry /= 2 })
		}},
	{name: "a channel is never abandoned",
		must: []string{"Rule06Expiry/abandoned*", "Rule06Expiry/owner_comes_back"},
		may:  []string{"Rule12NothingSilent/stats"},
		wrap: neverAbandoned},
	{name: "a channel is abandoned though it is read",
		must: []string{"Rule06Expiry/waiting_receiver*"},
		may:  []string{"Rule12NothingSilent/stats"},
		wrap: func(m *making) layer.Layer {
			good := m.good()
			return &hooked{Layer: good, receive: func(ctx context.Context, channel string) (layer.Message, error) {
				if !layer.IsProcessSpecific(channel) {
					return good.Receive(ctx, channel)
				}
				short, cancel := context.WithTimeout(ctx, m.known().Expiry)
				defer cancel()
				msg, err := good.Receive(short, channel)
				if err == context.DeadlineExceeded && ctx.Err() == nil {
					layer.Release(ctx, good, channel)
					m.abandoned(channel)
					return msg, layer.ErrChannelGone
				}
				return msg, err
			}}
		}},
	{name: "a channel is abandoned though nothing expired on it",
		must: []string{"Rule06Expiry/idle_channel_stays*"},
		may:  []string{"Rule06Expiry/waiting_receiver*", "Rule12NothingSilent/stats"},
		wrap: func(m *making) layer.Layer {
			good := m.good()
			var mu sync.Mutex
			idle := map[string]*time.Timer{}
			return &hooked{
				Layer: good,
				newChannel: func(ctx context.Context, prefix string) (string, error) {
					name, err := good.NewChannel(ctx, prefix)
					if err == nil {
						mu.Lock()
						defer mu.Unlock()
						idle[name] = time.AfterFunc(2*m.known().Expiry, func() {
							if layer.Release(context.Background(), good, name) == nil {
								m.abandoned(name)
							}
						})
					}
					return name, err
				},
				receive: func(ctx context.Context, channel string) (layer.Message, error) {
					mu.Lock()
					t := idle[channel]
					mu.Unlock()
					if t != nil {
						t.Stop()
						defer t.Reset(2 * m.known().Expiry)
					}
					return good.Receive(ctx, channel)
				},
				close: func() error {
					mu.Lock()
					defer mu.Unlock()
					for _, t := range idle {
						t.Stop()
					}
					return good.Close()
				},
			}
		}},
	{name: "abandoning a channel is not reported",
		must: []string{"Rule06Expiry/abandoned*"},
		wrap: func(m *making) layer.Layer {
			return m.withObserver(func(o *layer.Observer) { o.Abandoned = nil })
		}},

	// Size.
	{name: "messages of any size are taken",
		must: []string{"Rule08Size/limit_is_exact*"},
		may:  []string{"Rule08Size/default_limit", "Rule10Failure/outcome_of_errors", "Rule12NothingSilent/refused_is_not_dropped"},
		wrap: func(m *making) layer.Layer {
			return m.withLimits(func(l *layer.Limits) { l.MaxMessageSize = layer.MaxSize })
		}},
	{name: "the largest message allowed is refused",
		must: []string{"Rule08Size/limit_is_exact*", "Rule08Size/default_limit"},
		wrap: func(m *making) layer.Layer {
			return m.withLimits(func(l *layer.Limits) { l.MaxMessageSize-- })
		}},
	{name: "messages of 1,000,000 bytes are refused",
		must: []string{"Rule08Size/million_bytes*"},
		may:  []string{"Rule02FIFO/sizes_mixed*", "Rule08Size/default_limit"},
		wrap: func(m *making) layer.Layer {
			return m.withLimits(func(l *layer.Limits) { l.MaxMessageSize = min(l.MaxMessageSize, 1<<19) })
		}},
	{name: "messages of 1,000,000 bytes are dropped",
		must: []string{"Rule08Size/million_bytes*"},
		may:  []string{"Rule02FIFO/sizes_mixed*", "Rule08Size/default_limit"},
		wrap: func(m *making) layer.Layer {
			good := m.good()
			return &hooked{Layer: good, send: func(ctx context.Context, channel string, msg layer.Message) error {
				if msg.Size() > 1<<19 && msg.Size() <= m.known().MaxMessageSize {
					m.dropped(layer.DropOversized, channel, 1)
					return nil
				}
				return good.Send(ctx, channel, msg)
			}}
		}},
}

// neverAbandoned gives a channel that the good layer abandoned a new one
// there, so that it works as if nothing had happened.
func neverAbandoned(m *making) layer.Layer {
	var mu sync.Mutex
	inside := map[string]string{}  // our name for a channel -> the good layer's
	outside := map[string]string{} // and back
	var groups memberships
	real := func(channel string) string {
		mu.Lock()
		defer mu.Unlock()
		if name, ok := inside[channel]; ok {
			return name
		}
		return channel
	}
	ours := func(name string) string {
		mu.Lock()
		defer mu.Unlock()
		if channel, ok := outside[name]; ok {
			return channel
		}
		return name
	}
	var good layer.Layer
	good = m.withObserver(func(o *layer.Observer) {
		o.Dropped = func(reason layer.DropReason, name string, count int) { m.dropped(reason, ours(name), count) }
		o.Abandoned = func(name string) {
			channel := ours(name)
			again, err := good.NewChannel(context.Background(), "")
			if err != nil {
				return
			}
			mu.Lock()
			inside[channel], outside[again] = again, channel
			mu.Unlock()
			for _, group := range groups.with(channel) {
				good.GroupAdd(context.Background(), group, again)
			}
		}
	})
	return &hooked{
		Layer: good,
		send: func(ctx context.Context, channel string, msg layer.Message) error {
			return good.Send(ctx, real(channel), msg)
		},
		receive: func(ctx context.Context, channel string) (layer.Message, error) {
			return good.Receive(ctx, real(channel))
		},
		groupAdd: func(ctx context.Context, group, channel string) error {
			err := good.GroupAdd(ctx, group, real(channel))
			if err == nil {
				groups.add(group, channel)
			}
			return err
		},
		groupDiscard: func(ctx context.Context, group, channel string) error {
			groups.discard(group, channel)
			return good.GroupDiscard(ctx, group, real(channel))
		},
		release: func(ctx context.Context, channel string) error { return layer.Release(ctx, good, real(channel)) },
	}
}
