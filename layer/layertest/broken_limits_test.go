package layertest

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/channellayer/channellayer/layer"
)

// brokenLimits breaks rules 4 and 5: names and capacity.
var brokenLimits = []broken{
	// Names.
	{name: "a newline at the end of a name is overlooked",
		must: []string{"Rule04Names/invalid_channel", "Rule04Names/invalid_group", "Rule04Names/invalid_prefix"},
		may:  []string{"Rule12NothingSilent/stats"},
		wrap: func(m *making) layer.Layer {
			good := m.good()
			trim := func(name string) string { return strings.TrimSuffix(name, "\n") }
			return &hooked{
				Layer:      good,
				newChannel: func(ctx context.Context, p string) (string, error) { return good.NewChannel(ctx, trim(p)) },
				send:       func(ctx context.Context, c string, msg layer.Message) error { return good.Send(ctx, trim(c), msg) },
				receive: func(ctx context.Context, c string) (layer.Message, error) {
					return good.Receive(ctx, trim(c))
				},
				groupAdd:     func(ctx context.Context, g, c string) error { return good.GroupAdd(ctx, trim(g), trim(c)) },
				groupDiscard: func(ctx context.Context, g, c string) error { return good.GroupDiscard(ctx, trim(g), trim(c)) },
				groupSend:    func(ctx context.Context, g string, msg layer.Message) error { return good.GroupSend(ctx, trim(g), msg) },
			}
		}},
	{name: "invalid names are made valid",
		must: []string{"Rule04Names/invalid_channel", "Rule04Names/invalid_group"},
		may:  []string{"Rule10Failure/outcome_of_errors", "Rule12NothingSilent/refused_is_not_dropped"},
		wrap: func(m *making) layer.Layer {
			good := m.good()
			channel := func(name string) string {
				if layer.ValidateChannel(name) == nil {
					return name
				}
				return layer.GroupName(name)
			}
			return &hooked{
				Layer: good,
				send:  func(ctx context.Context, c string, msg layer.Message) error { return good.Send(ctx, channel(c), msg) },
				groupAdd: func(ctx context.Context, g, c string) error {
					return good.GroupAdd(ctx, layer.GroupName(g), channel(c))
				},
				groupDiscard: func(ctx context.Context, g, c string) error {
					return good.GroupDiscard(ctx, layer.GroupName(g), channel(c))
				},
				groupSend: func(ctx context.Context, g string, msg layer.Message) error {
					return good.GroupSend(ctx, layer.GroupName(g), msg)
				},
			}
		}},
	{name: "names of 100 bytes are refused",
		must: []string{"Rule04Names/valid_names*"},
		wrap: func(m *making) layer.Layer {
			good := m.good()
			check := func(name string) error {
				if len(name) == layer.MaxNameLength {
					return layer.ErrInvalidName
				}
				return nil
			}
			return &hooked{
				Layer: good,
				send: func(ctx context.Context, channel string, msg layer.Message) error {
					if err := check(channel); err != nil {
						return err
					}
					return good.Send(ctx, channel, msg)
				},
				groupSend: func(ctx context.Context, group string, msg layer.Message) error {
					if err := check(group); err != nil {
						return err
					}
					return good.GroupSend(ctx, group, msg)
				},
			}
		}},
	{name: "NewChannel returns some names twice",
		must: []string{"Rule04Names/new_channel_unique"},
		may:  []string{"Optional/flush", "Rule03Isolation/receiver_changes_what_it_got*", "Rule04Names/invalid_prefix", "Rule04Names/names_are_exact*", "Rule04Names/new_channel_unique_between_processes", "Rule05Capacity/first_rule_counts", "Rule05Capacity/group_send_skips_full*", "Rule05Capacity/slow_channel_delays_no_other*", "Rule07Groups/*", "Rule12NothingSilent/*", "Rule13Concurrency/one_message_shared"},
		wrap: func(m *making) layer.Layer {
			good, third := m.good(), every{n: 3}
			var mu sync.Mutex
			var last string
			return &hooked{Layer: good, newChannel: func(ctx context.Context, prefix string) (string, error) {
				mu.Lock()
				defer mu.Unlock()
				if third.nth() && strings.HasPrefix(last, prefix) {
					return last, ctx.Err()
				}
				name, err := good.NewChannel(ctx, prefix)
				last = name
				return name, err
			}}
		}},
	{name: "NewChannel takes no notice of the prefix",
		must: []string{"Rule04Names/new_channel"},
		may:  []string{"Rule05Capacity/first_rule_counts"},
		wrap: func(m *making) layer.Layer {
			good := m.good()
			return &hooked{Layer: good, newChannel: func(ctx context.Context, prefix string) (string, error) {
				if err := layer.ValidatePrefix(prefix); err != nil {
					return "", err
				}
				return good.NewChannel(ctx, "")
			}}
		}},

	// Capacity.
	{name: "capacity is not kept",
		must: []string{"Rule05Capacity/exact_*", "Rule05Capacity/one", "Rule05Capacity/default", "Rule05Capacity/first_rule_counts"},
		may:  []string{"Rule05Capacity/*", "Rule10Failure/outcome_of_errors", "Rule12NothingSilent/reasons", "Rule12NothingSilent/refused_is_not_dropped", "Rule12NothingSilent/stats"},
		wrap: func(m *making) layer.Layer {
			return m.withLimits(func(l *layer.Limits) { l.Capacity, l.CapacityRules = 1<<20, nil })
		}},
	{name: "capacity is one too many",
		must: []string{"Model/*", "Rule05Capacity/exact_*", "Rule05Capacity/one", "Rule05Capacity/default", "Rule05Capacity/first_rule_counts"},
		may:  []string{"Rule05Capacity/*", "Rule10Failure/outcome_of_errors", "Rule12NothingSilent/reasons", "Rule12NothingSilent/refused_is_not_dropped", "Rule12NothingSilent/stats"},
		wrap: func(m *making) layer.Layer {
			return m.withLimits(func(l *layer.Limits) {
				l.Capacity++
				for i := range l.CapacityRules {
					l.CapacityRules[i].Capacity++
				}
			})
		}},
	{name: "of the capacity rules the last one wins",
		must: []string{"Rule05Capacity/first_rule_counts"},
		wrap: func(m *making) layer.Layer {
			return m.withLimits(func(l *layer.Limits) { slices.Reverse(l.CapacityRules) })
		}},
	{name: "capacity rules are not kept",
		must: []string{"Rule05Capacity/first_rule_counts"},
		wrap: func(m *making) layer.Layer {
			return m.withLimits(func(l *layer.Limits) { l.CapacityRules = nil })
		}},
	{name: "Send waits for room",
		must: []string{"Rule05Capacity/exact_*"},
		may:  []string{"Rule02FIFO/after_full*", "Rule05Capacity/*", "Rule10Failure/outcome_of_errors", "Rule11Close/during_calls*", "Rule12NothingSilent/books_balance*", "Rule12NothingSilent/refused_is_not_dropped"},
		wrap: func(m *making) layer.Layer {
			good := m.good()
			return &hooked{Layer: good, send: func(ctx context.Context, channel string, msg layer.Message) error {
				for {
					err := good.Send(ctx, channel, msg)
					if err != layer.ErrChannelFull {
						return err
					}
					short, cancel := context.WithTimeout(ctx, time.Second)
					m.hang(short)
					cancel()
					if ctx.Err() != nil || m.stop.Err() != nil {
						return err
					}
				}
			}}
		}},
	{name: "a full channel takes a message and drops its oldest",
		must: []string{"Rule05Capacity/exact_*"},
		may:  []string{"Rule05Capacity/*", "Rule10Failure/outcome_of_errors", "Rule11Close/during_calls_from_peer", "Rule12NothingSilent/refused_is_not_dropped"},
		wrap: func(m *making) layer.Layer {
			good := m.good()
			return &hooked{Layer: good, send: func(ctx context.Context, channel string, msg layer.Message) error {
				err := good.Send(ctx, channel, msg)
				if err != layer.ErrChannelFull {
					return err
				}
				if _, err := layer.ReceiveBatch(ctx, good, channel, make([]layer.Message, 1)); err != nil {
					return layer.NotSent(err)
				}
				m.dropped(layer.DropFull, channel, 1)
				return good.Send(ctx, channel, msg)
			}}
		}},
	{name: "a full channel takes a message and drops it",
		must: []string{"Rule05Capacity/exact_*"},
		may:  []string{"Rule05Capacity/*", "Rule10Failure/outcome_of_errors", "Rule12NothingSilent/refused_is_not_dropped"},
		wrap: func(m *making) layer.Layer {
			good := m.good()
			return &hooked{Layer: good, send: func(ctx context.Context, channel string, msg layer.Message) error {
				err := good.Send(ctx, channel, msg)
				if err != layer.ErrChannelFull {
					return err
				}
				m.dropped(layer.DropFull, channel, 1)
				return nil
			}}
		}},
	{name: "a send that is refused counts as a drop, too",
		must: []string{"Rule12NothingSilent/refused_is_not_dropped"},
		may:  []string{"Rule05Capacity/full_in_another_process", "Rule05Capacity/group_send_skips_full*", "Rule12NothingSilent/books_balance*"},
		wrap: func(m *making) layer.Layer {
			good := m.good()
			return &hooked{Layer: good, send: func(ctx context.Context, channel string, msg layer.Message) error {
				err := good.Send(ctx, channel, msg)
				if err == layer.ErrChannelFull {
					m.dropped(layer.DropFull, channel, 1)
				}
				return err
			}}
		}},
	{name: "capacity is shared by all channels",
		must: []string{"Rule05Capacity/slow_channel_delays_no_other"},
		may:  []string{"Rule02FIFO/*_from_peer", "Rule04Names/valid_names_from_peer", "Rule05Capacity/*", "Rule07Groups/many_members_from_peer", "Rule07Groups/members_come_and_go_from_peer", "Rule09Receive/cancel_consumes_nothing_from_peer", "Rule09Receive/cancel_serves_the_next_from_peer", "Rule10Failure/outcome_of_errors", "Rule11Close/during_calls", "Rule12NothingSilent/observer_may_call_back", "Rule12NothingSilent/reasons", "Rule12NothingSilent/stats"},
		wrap: func(m *making) layer.Layer {
			good := m.good()
			var mu sync.Mutex
			unread := map[string]int{} // by channel; what groups were sent does not count
			add := func(channel string, n int) (sum int) {
				mu.Lock()
				defer mu.Unlock()
				unread[channel] = max(0, unread[channel]+n)
				for _, n := range unread {
					sum += n
				}
				return sum
			}
			return &hooked{
				Layer: good,
				send: func(ctx context.Context, channel string, msg layer.Message) error {
					if add(channel, 0) >= m.known().CapacityFor(channel) {
						return layer.ErrChannelFull
					}
					err := good.Send(ctx, channel, msg)
					if err == nil {
						add(channel, 1)
					}
					return err
				},
				receive: func(ctx context.Context, channel string) (layer.Message, error) {
					msg, err := good.Receive(ctx, channel)
					if err == nil {
						add(channel, -1)
					}
					return msg, err
				},
			}
		}},
	{name: "a full channel holds up the others for a while",
		must: []string{"Rule05Capacity/slow_channel_delays_no_other"},
		may:  []string{"Rule05Capacity/*", "Rule11Close/during_calls*", "Rule12NothingSilent/books_balance*", "Rule12NothingSilent/observer_may_call_back"},
		wrap: func(m *making) layer.Layer {
			good, lock := m.good(), newLock()
			return &hooked{Layer: good, send: func(ctx context.Context, channel string, msg layer.Message) (err error) {
				lock.do(func() {
					if err = good.Send(ctx, channel, msg); err == layer.ErrChannelFull {
						m.pause()
					}
				})
				return err
			}}
		}},
	{name: "expired messages keep their places",
		must: []string{"Rule05Capacity/expired_messages_make_room"},
		wrap: func(m *making) layer.Layer {
			var mu sync.Mutex
			expired := map[string]int{}
			good := m.withObserver(func(o *layer.Observer) {
				o.Dropped = func(reason layer.DropReason, name string, count int) {
					if reason == layer.DropExpired {
						mu.Lock()
						expired[name] += count
						mu.Unlock()
					}
					m.dropped(reason, name, count)
				}
			})
			return &hooked{Layer: good, send: func(ctx context.Context, channel string, msg layer.Message) error {
				err := good.Send(ctx, channel, msg)
				mu.Lock()
				defer mu.Unlock()
				if err == nil && expired[channel] >= m.known().CapacityFor(channel) {
					return layer.ErrChannelFull
				}
				return err
			}}
		}},
	{name: "receivers that wait take up room",
		must: []string{"Rule05Capacity/waiting_receivers_take_no_room"},
		may:  []string{"Rule12NothingSilent/stats"},
		wrap: func(m *making) layer.Layer {
			good := m.good()
			var mu sync.Mutex
			waiting := map[string]int{}
			count := func(channel string, by int) int {
				mu.Lock()
				defer mu.Unlock()
				waiting[channel] += by
				return waiting[channel]
			}
			return &hooked{
				Layer: good,
				receive: func(ctx context.Context, channel string) (layer.Message, error) {
					count(channel, 1)
					defer count(channel, -1)
					return good.Receive(ctx, channel)
				},
				send: func(ctx context.Context, channel string, msg layer.Message) error {
					if count(channel, 0) >= m.known().CapacityFor(channel) {
						return layer.ErrChannelFull
					}
					return good.Send(ctx, channel, msg)
				},
			}
		}},
}
