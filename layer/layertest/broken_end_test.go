package layertest

import (
	"context"
	"errors"
	"sync/atomic"

	"github.com/channellayer/channellayer/layer"
)

// brokenEnd breaks rule 11, and what Release and Flush promise.
var brokenEnd = []broken{
	{name: "Close is an error the second time",
		must: []string{"Rule11Close/again"},
		may:  []string{"Rule07Groups/outlives_adder", "Rule11Close/*", "Rule12NothingSilent/reasons"},
		wrap: func(m *making) layer.Layer {
			good := m.good()
			var closed atomic.Bool
			return &hooked{Layer: good, close: func() error {
				if closed.Swap(true) {
					return layer.ErrClosed
				}
				return good.Close()
			}}
		}},
	{name: "Close panics the second time",
		must: []string{"Rule11Close/again"},
		may:  []string{"Rule07Groups/outlives_adder", "Rule11Close/*", "Rule12NothingSilent/reasons"},
		wrap: func(m *making) layer.Layer {
			good := m.good()
			stop := make(chan struct{})
			return &hooked{Layer: good, close: func() error {
				close(stop)
				return good.Close()
			}}
		}},
	{name: "a Receive that Close wakes leaves a goroutine",
		must: []string{"Rule11Close/wakes_receivers", "Rule11Close/during_calls*"},
		may:  []string{"Rule11Close/*", "Rule12NothingSilent/stats"},
		wrap: func(m *making) layer.Layer {
			good := m.good()
			return &hooked{Layer: good, receive: func(ctx context.Context, channel string) (layer.Message, error) {
				msg, err := good.Receive(ctx, channel)
				if errors.Is(err, layer.ErrClosed) {
					go leaked()
				}
				return msg, err
			}}
		}},
	{name: "Close leaves receivers waiting",
		must: []string{"Rule11Close/wakes_receivers", "Rule11Close/during_calls*"},
		may:  []string{"Rule11Close/methods_afterwards", "Rule12NothingSilent/stats"},
		wrap: func(m *making) layer.Layer {
			good := m.good()
			return &hooked{Layer: good, receive: func(ctx context.Context, channel string) (layer.Message, error) {
				msg, err := good.Receive(ctx, channel)
				if errors.Is(err, layer.ErrClosed) {
					return msg, m.hang(ctx)
				}
				return msg, err
			}}
		}},
	{name: "Close wakes receivers with an error of its own",
		must: []string{"Rule11Close/wakes_receivers", "Rule11Close/during_calls*"},
		may:  []string{"Rule11Close/methods_afterwards", "Rule12NothingSilent/stats"},
		wrap: func(m *making) layer.Layer {
			good := m.good()
			return &hooked{Layer: good, receive: func(ctx context.Context, channel string) (layer.Message, error) {
				msg, err := good.Receive(ctx, channel)
				if errors.Is(err, layer.ErrClosed) {
					return msg, errors.New("shutting down")
				}
				return msg, err
			}}
		}},
	{name: "Close wakes receivers with an empty message",
		must: []string{"Rule11Close/wakes_receivers"},
		may:  []string{"Rule12NothingSilent/stats"},
		wrap: func(m *making) layer.Layer {
			good := m.good()
			return &hooked{Layer: good, receive: func(ctx context.Context, channel string) (layer.Message, error) {
				before := good.GroupDiscard(context.WithoutCancel(ctx), "g", "c")
				msg, err := good.Receive(ctx, channel)
				if errors.Is(err, layer.ErrClosed) && before == nil {
					return layer.Message{}, nil
				}
				return msg, err
			}}
		}},
	{name: "Close waits until receivers leave by themselves",
		must: []string{"Rule11Close/wakes_receivers"},
		may:  []string{"Rule11Close/*", "Rule12NothingSilent/stats", "Rule13Concurrency/*"},
		wrap: func(m *making) layer.Layer {
			good := m.good()
			var waiting atomic.Int64
			return &hooked{
				Layer: good,
				receive: func(ctx context.Context, channel string) (layer.Message, error) {
					waiting.Add(1)
					defer waiting.Add(-1)
					return good.Receive(ctx, channel)
				},
				close: func() error {
					for waiting.Load() > 0 && m.stop.Err() == nil {
						m.pause()
					}
					return good.Close()
				},
			}
		}},
	{name: "the first sends after Close return nil",
		must: []string{"Rule11Close/methods_afterwards"},
		wrap: func(m *making) layer.Layer {
			var sends atomic.Int64 // bounded, for the sake of those that send until they get an error
			return sendErrors(func(err error) error {
				if errors.Is(err, layer.ErrClosed) && sends.Add(1) <= 20 {
					return nil
				}
				return err
			})(m)
		}},
	{name: "NewChannel works after Close",
		must: []string{"Rule11Close/methods_afterwards"},
		wrap: func(m *making) layer.Layer {
			good := m.good()
			return &hooked{Layer: good, newChannel: func(ctx context.Context, prefix string) (string, error) {
				name, err := good.NewChannel(ctx, prefix)
				if errors.Is(err, layer.ErrClosed) {
					return "specific.late!1", nil
				}
				return name, err
			}}
		}},
	{name: "GroupAdd and GroupDiscard return nil after Close",
		must: []string{"Rule11Close/methods_afterwards"},
		wrap: func(m *making) layer.Layer {
			good := m.good()
			unless := func(err error) error {
				if errors.Is(err, layer.ErrClosed) {
					return nil
				}
				return err
			}
			return &hooked{
				Layer:        good,
				groupAdd:     func(ctx context.Context, g, c string) error { return unless(good.GroupAdd(ctx, g, c)) },
				groupDiscard: func(ctx context.Context, g, c string) error { return unless(good.GroupDiscard(ctx, g, c)) },
			}
		}},
	{name: "Close does not count the messages that it drops",
		must: []string{"Rule11Close/unread_counted"},
		may:  []string{"Rule12NothingSilent/reasons"},
		wrap: func(m *making) layer.Layer {
			var closing atomic.Bool
			good := m.withObserver(func(o *layer.Observer) {
				o.Dropped = func(reason layer.DropReason, name string, count int) {
					if !closing.Load() {
						m.dropped(reason, name, count)
					}
				}
			})
			return &hooked{
				Layer: good,
				stats: func() layer.Stats {
					stats, _ := layer.ReadStats(good)
					if closing.Load() {
						stats.Dropped[layer.DropClosed] = 0
					}
					return stats
				},
				close: func() error {
					closing.Store(true)
					return good.Close()
				},
			}
		}},
	{name: "Release does nothing",
		must: []string{"Model/*", "Rule09Receive/released", "Rule09Receive/release_wakes_receivers", "Rule07Groups/released_member*"},
		may:  []string{"Rule09Receive/release_refuses", "Rule11Close/methods_afterwards", "Rule12NothingSilent/reasons", "Rule12NothingSilent/stats"},
		wrap: func(m *making) layer.Layer {
			good := m.good()
			return &hooked{Layer: good, release: func(ctx context.Context, channel string) error {
				if ctx.Err() != nil || layer.ValidateChannel(channel) != nil || !layer.IsProcessSpecific(channel) {
					return layer.Release(ctx, good, channel)
				}
				return nil
			}}
		}},
	{name: "Release of a channel that is gone is an error",
		must: []string{"Rule09Receive/released"},
		wrap: func(m *making) layer.Layer {
			good := m.good()
			var gone memberships
			return &hooked{Layer: good, release: func(ctx context.Context, channel string) error {
				err := layer.Release(ctx, good, channel)
				if err == nil && !gone.add("", channel) {
					return layer.ErrChannelGone
				}
				return err
			}}
		}},
	{name: "Release returns nil for any name",
		must: []string{"Rule09Receive/release_refuses"},
		may:  []string{"Rule10Failure/ended_ctx", "Rule11Close/methods_afterwards"},
		wrap: func(m *making) layer.Layer {
			good := m.good()
			return &hooked{Layer: good, release: func(ctx context.Context, channel string) error {
				layer.Release(ctx, good, channel)
				return nil
			}}
		}},
	{name: "Flush does nothing",
		must: []string{"Optional/flush*"},
		may:  []string{"Rule11Close/methods_afterwards"},
		wrap: func(m *making) layer.Layer {
			good := m.good()
			return &hooked{Layer: good, flush: func(ctx context.Context) error { return ctx.Err() }}
		}},
	{name: "Flush leaves the memberships",
		must: []string{"Optional/flush*"},
		wrap: func(m *making) layer.Layer {
			good := m.good()
			var groups memberships
			h := groups.watching(good)
			h.flush = func(ctx context.Context) error {
				err := layer.Flush(ctx, good)
				for group, channels := range groups.snapshot() {
					for _, channel := range channels {
						good.GroupAdd(ctx, group, channel)
					}
				}
				return err
			}
			return h
		}},
	{name: "Flush ends channels",
		must: []string{"Optional/flush*"},
		wrap: func(m *making) layer.Layer {
			good := m.good()
			var made memberships
			return &hooked{
				Layer: good,
				newChannel: func(ctx context.Context, prefix string) (string, error) {
					name, err := good.NewChannel(ctx, prefix)
					if err == nil {
						made.add("", name)
					}
					return name, err
				},
				flush: func(ctx context.Context) error {
					err := layer.Flush(ctx, good)
					for _, channel := range made.of("") {
						layer.Release(ctx, good, channel)
					}
					return err
				},
			}
		}},
	{name: "a layer that was not used leaves a goroutine",
		must: []string{"Rule11Close/unused"},
		may:  []string{"Optional/ping", "Rule01AtMostOnce/many_receivers_normal_channel_from_peer", "Rule01AtMostOnce/receivers_in_two_processes", "Rule02FIFO/normal_channel_one_reader_from_peer", "Rule03Isolation/receiver_changes_what_it_got_from_peer", "Rule05Capacity/concurrent_senders_from_peer", "Rule05Capacity/exact_normal_channel_from_peer", "Rule06Expiry/each_at_its_own_time_from_peer", "Rule06Expiry/normal_channel_not_abandoned_from_peer", "Rule06Expiry/not_delivered_after_from_peer", "Rule07Groups/outlives_adder", "Rule09Receive/foreign_channel", "Rule11Close/peers_go_on", "Rule13Concurrency/join_send_leave_from_peer"},
		wrap: func(m *making) layer.Layer {
			good := m.good()
			var used, closed atomic.Bool
			return &hooked{
				Layer: good,
				newChannel: func(ctx context.Context, prefix string) (string, error) {
					used.Store(true)
					return good.NewChannel(ctx, prefix)
				},
				send: func(ctx context.Context, channel string, msg layer.Message) error {
					used.Store(true)
					return good.Send(ctx, channel, msg)
				},
				close: func() error {
					if !used.Load() && !closed.Swap(true) {
						go leaked()
					}
					return good.Close()
				},
			}
		}},
	{name: "Ping fails on a layer without channels",
		must: []string{"Optional/ping"},
		wrap: func(m *making) layer.Layer {
			good := m.good()
			var used atomic.Bool
			return &hooked{
				Layer: good,
				newChannel: func(ctx context.Context, prefix string) (string, error) {
					used.Store(true)
					return good.NewChannel(ctx, prefix)
				},
				ping: func(ctx context.Context) error {
					if !used.Load() {
						return layer.ErrChannelGone
					}
					return layer.Ping(ctx, good)
				},
			}
		}},
	{name: "a layer with more than 40 channels leaves a goroutine",
		must: []string{"Rule11Close/leaves_nothing"},
		may:  []string{"Rule04Names/new_channel_unique", "Rule04Names/new_channel_unique_between_processes", "Rule07Groups/many_members*"},
		wrap: func(m *making) layer.Layer {
			good := m.good()
			var made atomic.Int64
			return &hooked{Layer: good, newChannel: func(ctx context.Context, prefix string) (string, error) {
				if made.Add(1) == 41 {
					go leaked()
				}
				return good.NewChannel(ctx, prefix)
			}}
		}},
}

// leaked is where goroutines stay that a broken layer leaves behind. A bubble
// ends without them; they are all of them the same, and do nothing.
func leaked() { select {} }
