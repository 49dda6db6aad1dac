package layertest

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/channellayer/channellayer/layer"
)

// brokenDelivery breaks rules 1 to 3 and 13: who gets a message, how often, in
// which order, and whether it is the same there.
var brokenDelivery = []broken{
	{name: "Send delivers every 50th message twice",
		must: []string{"Rule01AtMostOnce/many_receivers_normal_channel*", "Rule01AtMostOnce/many_receivers_own_channel*", "Rule02FIFO/send_only*"},
		may:  []string{"Rule01AtMostOnce/receivers_in_two_processes", "Rule02FIFO/*", "Rule04Names/valid_names*", "Rule05Capacity/default", "Rule05Capacity/slow_channel_delays_no_other*", "Rule07Groups/members_come_and_go*", "Rule09Receive/batch_cancelled", "Rule09Receive/cancel_consumes_nothing*", "Rule09Receive/cancel_serves_the_next*", "Rule12NothingSilent/*"},
		wrap: func(m *making) layer.Layer {
			good, rare := m.good(), every{n: 50}
			return &hooked{Layer: good, send: func(ctx context.Context, channel string, msg layer.Message) error {
				err := good.Send(ctx, channel, msg)
				if err == nil && rare.nth() {
					good.Send(ctx, channel, msg)
				}
				return err
			}}
		}},
	{name: "GroupSend delivers every 50th message twice",
		must: []string{"Rule02FIFO/group_send_only*", "Rule02FIFO/several_groups*"},
		may:  []string{"Optional/stats_while_busy", "Rule02FIFO/normal_channel_one_reader*", "Rule02FIFO/send_and_group_send_mixed*", "Rule07Groups/channel_in_many_groups*", "Rule07Groups/members_come_and_go*", "Rule12NothingSilent/books_balance*", "Rule13Concurrency/join_send_leave*"},
		wrap: func(m *making) layer.Layer {
			good, rare := m.good(), every{n: 50}
			return &hooked{Layer: good, groupSend: func(ctx context.Context, group string, msg layer.Message) error {
				err := good.GroupSend(ctx, group, msg)
				if err == nil && rare.nth() {
					good.GroupSend(ctx, group, msg)
				}
				return err
			}}
		}},
	{name: "a message goes to two of the readers of a normal channel",
		must: []string{"Rule01AtMostOnce/many_receivers_normal_channel", "Rule09Receive/one_message_one_receiver"},
		may:  []string{"Rule01AtMostOnce/*", "Rule09Receive/cancel_serves_the_next", "Rule09Receive/order_of_arrival", "Rule12NothingSilent/stats"},
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
					if !layer.IsProcessSpecific(channel) && count(channel, 0) > 1 {
						good.Send(ctx, channel, msg)
					}
					return good.Send(ctx, channel, msg)
				},
			}
		}},
	{name: "every 50th message goes to another channel",
		must: []string{"Rule05Capacity/slow_channel_delays_no_other*"},
		may:  []string{"Rule02FIFO/cancelled_receives_between*", "Rule02FIFO/receive_batch*", "Rule02FIFO/several_writers*", "Rule03Isolation/invalid_message*", "Rule04Names/valid_names*", "Rule07Groups/many_members*", "Rule07Groups/members_come_and_go*", "Rule09Receive/batch_cancelled", "Rule09Receive/cancel_consumes_nothing*", "Rule09Receive/cancel_serves_the_next*"},
		wrap: func(m *making) layer.Layer {
			good, rare := m.good(), every{n: 50}
			var mu sync.Mutex
			channels := map[string]bool{}
			other := func(channel string) string {
				mu.Lock()
				defer mu.Unlock()
				channels[channel] = true
				for c := range channels {
					if c != channel {
						return c
					}
				}
				return channel
			}
			return &hooked{Layer: good, send: func(ctx context.Context, channel string, msg layer.Message) error {
				if other := other(channel); rare.nth() && good.Send(ctx, other, msg) == nil {
					return nil
				}
				return good.Send(ctx, channel, msg)
			}}
		}},
	{name: "it sends a message of its own after every 50th",
		must: []string{"Rule02FIFO/send_only*"},
		may:  []string{"Rule02FIFO/*", "Rule04Names/valid_names*", "Rule05Capacity/default", "Rule05Capacity/slow_channel_delays_no_other*", "Rule07Groups/members_come_and_go*", "Rule09Receive/batch_cancelled", "Rule09Receive/cancel_consumes_nothing*", "Rule09Receive/cancel_serves_the_next*", "Rule12NothingSilent/*"},
		wrap: func(m *making) layer.Layer {
			good, rare := m.good(), every{n: 50}
			return &hooked{Layer: good, send: func(ctx context.Context, channel string, msg layer.Message) error {
				err := good.Send(ctx, channel, msg)
				if err == nil && rare.nth() {
					good.Send(ctx, channel, layer.NewMessage(map[string]any{"type": "keepalive"}))
				}
				return err
			}}
		}},
	{name: "every 50th message is lost in silence",
		must: []string{"Rule01AtMostOnce/many_receivers_own_channel*", "Rule02FIFO/send_only*"},
		may:  []string{"Rule01AtMostOnce/many_receivers_normal_channel*", "Rule01AtMostOnce/receivers_in_two_processes", "Rule02FIFO/*", "Rule03Isolation/invalid_message*", "Rule04Names/valid_names*", "Rule05Capacity/*", "Rule07Groups/many_members*", "Rule07Groups/members_come_and_go*", "Rule09Receive/batch_cancelled", "Rule09Receive/cancel_consumes_nothing*", "Rule09Receive/cancel_serves_the_next*", "Rule12NothingSilent/*"},
		wrap: func(m *making) layer.Layer {
			good, rare := m.good(), every{n: 50}
			return &hooked{Layer: good, send: func(ctx context.Context, channel string, msg layer.Message) error {
				if rare.nth() && msg.Err() == nil {
					return nil
				}
				return good.Send(ctx, channel, msg)
			}}
		}},
	{name: "one message in 10,000 is lost",
		must: []string{"Load/*"},
		wrap: func(m *making) layer.Layer {
			good, rare := m.good(), every{n: 10_000}
			return &hooked{Layer: good, send: func(ctx context.Context, channel string, msg layer.Message) error {
				if rare.nth() && msg.Err() == nil {
					return nil
				}
				return good.Send(ctx, channel, msg)
			}}
		}},
	{name: "of two that send at once one is lost",
		must: []string{"Load/*"},
		may:  []string{"Rule02FIFO/several_writers*", "Rule05Capacity/concurrent_senders*", "Rule13Concurrency/*"},
		wrap: func(m *making) layer.Layer {
			good := m.good()
			var sending atomic.Int64
			return &hooked{Layer: good, send: func(ctx context.Context, channel string, msg layer.Message) error {
				defer sending.Add(-1)
				if sending.Add(1) > 1 && msg.Err() == nil {
					return nil
				}
				return good.Send(ctx, channel, msg)
			}}
		}},
	{name: "every 50th message swaps places with the one behind it",
		must: []string{"Rule02FIFO/send_only*", "Rule02FIFO/send_and_group_send_mixed*", "Load/*"},
		may:  []string{"Rule02FIFO/*", "Rule05Capacity/default", "Rule07Groups/channel_in_many_groups*", "Rule07Groups/many_members*", "Rule12NothingSilent/stats"},
		wrap: func(m *making) layer.Layer {
			good, rare := m.good(), every{n: 50}
			var mu sync.Mutex
			kept := map[string]layer.Message{}
			take := func(channel string) (layer.Message, bool) {
				mu.Lock()
				defer mu.Unlock()
				msg, ok := kept[channel]
				delete(kept, channel)
				return msg, ok
			}
			return &hooked{Layer: good, receive: func(ctx context.Context, channel string) (layer.Message, error) {
				if err := ctx.Err(); err != nil {
					return layer.Message{}, err
				}
				if msg, ok := take(channel); ok {
					return msg, nil
				}
				if !rare.nth() {
					return good.Receive(ctx, channel)
				}
				two := make([]layer.Message, 2)
				n, err := layer.ReceiveBatch(ctx, good, channel, two)
				if n == 2 {
					mu.Lock()
					kept[channel] = two[0]
					mu.Unlock()
					return two[1], nil
				}
				return two[0], err
			}}
		}},
	{name: "GroupSend delivers a little later than it returns",
		must: []string{"Rule02FIFO/send_and_group_send_mixed*"},
		may:  []string{"Optional/*", "Rule01AtMostOnce/group_member_added_twice*", "Rule02FIFO/*", "Rule05Capacity/*", "Rule07Groups/*", "Rule08Size/limit_is_exact*", "Rule10Failure/outcome_of_errors", "Rule11Close/*", "Rule12NothingSilent/reasons", "Rule12NothingSilent/refused_is_not_dropped", "Rule12NothingSilent/stats", "Rule13Concurrency/*"},
		wrap: func(m *making) layer.Layer {
			good := m.good()
			return &hooked{Layer: good, groupSend: func(ctx context.Context, group string, msg layer.Message) error {
				if err := ctx.Err(); err != nil || msg.Err() != nil || layer.ValidateGroup(group) != nil {
					return good.GroupSend(ctx, group, msg)
				}
				late := context.WithoutCancel(ctx)
				time.AfterFunc(10*time.Millisecond, func() { good.GroupSend(late, group, msg) })
				return nil
			}}
		}},
	{name: "integers arrive as floats",
		must: []string{"Rule03Isolation/types_*"},
		may:  []string{"Rule01AtMostOnce/group_member_added_twice*", "Rule01AtMostOnce/no_repeat_after_receive*", "Rule02FIFO/*", "Rule04Names/names_are_exact*", "Rule04Names/valid_names*", "Rule05Capacity/*", "Rule06Expiry/each_at_its_own_time*", "Rule06Expiry/own_channel_with_reader*", "Rule07Groups/*", "Rule09Receive/*", "Rule11Close/unread_counted", "Rule12NothingSilent/no_gap_without_cause*", "Rule12NothingSilent/reasons", "Rule12NothingSilent/stats", "Rule13Concurrency/join_send_leave*", "Rule13Concurrency/one_message_shared"},
		wrap: rewriting(func(v any) (any, bool) {
			if i, ok := v.(int64); ok {
				return float64(i), true
			}
			return v, true
		})},
	{name: "bytes arrive as strings",
		must: []string{"Rule03Isolation/types_*"},
		may:  []string{"Rule02FIFO/sizes_mixed*", "Rule03Isolation/maker_changes_its_map*", "Rule03Isolation/receiver_changes_what_it_got*", "Rule08Size/default_limit", "Rule08Size/limit_is_exact*", "Rule08Size/million_bytes*", "Rule12NothingSilent/stats", "Rule13Concurrency/one_message_shared"},
		wrap: rewriting(func(v any) (any, bool) {
			if b, ok := v.([]byte); ok {
				return string(b), true
			}
			return v, true
		})},
	{name: "empty containers do not arrive",
		must: []string{"Rule03Isolation/types_*"},
		may:  []string{"Rule12NothingSilent/stats"},
		wrap: rewriting(func(v any) (any, bool) {
			switch v := v.(type) {
			case []any:
				return v, len(v) > 0
			case map[string]any:
				return v, len(v) > 0
			}
			return v, true
		})},
	{name: "nil does not arrive",
		must: []string{"Rule03Isolation/types_*"},
		may:  []string{"Rule12NothingSilent/stats"},
		wrap: rewriting(func(v any) (any, bool) { return v, v != nil })},
	{name: "fields of the message before shine through",
		must: []string{"Rule03Isolation/maker_changes_its_map*"},
		may:  []string{"Rule01AtMostOnce/group_member_added_twice*", "Rule01AtMostOnce/no_repeat_after_receive*", "Rule02FIFO/*", "Rule04Names/names_are_exact*", "Rule04Names/valid_names*", "Rule05Capacity/*", "Rule06Expiry/each_at_its_own_time*", "Rule06Expiry/own_channel_with_reader*", "Rule07Groups/*", "Rule08Size/limit_is_exact*", "Rule09Receive/*", "Rule12NothingSilent/no_gap_without_cause*", "Rule12NothingSilent/stats"},
		wrap: func(m *making) layer.Layer {
			good := m.good()
			var mu sync.Mutex
			buffer := map[string]any{} // used again and never cleared
			return &hooked{Layer: good, receive: func(ctx context.Context, channel string) (layer.Message, error) {
				msg, err := good.Receive(ctx, channel)
				if err != nil {
					return msg, err
				}
				mu.Lock()
				defer mu.Unlock()
				for key, value := range msg.All() {
					buffer[key] = value
				}
				return layer.NewMessage(buffer), nil
			}}
		}},
	{name: "calls at the same time fail now and then",
		must: []string{"Rule13Concurrency/all_methods*"},
		may:  []string{"Rule13Concurrency/*"},
		wrap: func(m *making) layer.Layer {
			good, rare := m.good(), every{n: 20}
			var began atomic.Int64
			return &hooked{Layer: good, groupAdd: func(ctx context.Context, group, channel string) error {
				if mine := began.Add(1); ctx.Err() == nil && rare.nth() {
					time.Sleep(time.Millisecond) // in a bubble: until all others wait, too
					if began.Load() > mine {
						return errors.New("busy")
					}
				}
				return good.GroupAdd(ctx, group, channel)
			}}
		}},
}

// rewriting makes a layer that passes each value of a message, at any depth,
// through f. Where f says no, the value is left out.
func rewriting(f func(any) (any, bool)) func(*making) layer.Layer {
	var rewrite func(v any) (any, bool)
	rewrite = func(v any) (any, bool) {
		switch old := v.(type) {
		case []any:
			list := []any{}
			for _, e := range old {
				if e, ok := rewrite(e); ok {
					list = append(list, e)
				}
			}
			v = list
		case map[string]any:
			fields := map[string]any{}
			for key, e := range old {
				if e, ok := rewrite(e); ok {
					fields[key] = e
				}
			}
			v = fields
		}
		return f(v)
	}
	return func(m *making) layer.Layer {
		good := m.good()
		return &hooked{Layer: good, receive: func(ctx context.Context, channel string) (layer.Message, error) {
			msg, err := good.Receive(ctx, channel)
			if err != nil {
				return msg, err
			}
			fields := map[string]any{}
			for key, value := range msg.All() {
				if value, ok := rewrite(value); ok {
					fields[key] = value
				}
			}
			return layer.NewMessage(fields), nil
		}}
	}
}
