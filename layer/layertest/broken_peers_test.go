package layertest

import (
	"context"
	"strconv"
	"sync/atomic"

	"github.com/channellayer/channellayer/layer"
)

// brokenPeers breaks what the rules say of several processes on a bus.
var brokenPeers = betweenProcesses([]broken{
	{name: "GroupSend reaches only the members in its process",
		must: []string{"Rule07Groups/members_in_two_processes"},
		may:  []string{"Optional/flush_from_peer", "Optional/stats_while_busy", "Rule01AtMostOnce/group_member_added_twice_from_peer", "Rule02FIFO/*", "Rule03Isolation/empty_message_from_peer", "Rule03Isolation/maker_changes_its_map_from_peer", "Rule03Isolation/receiver_changes_what_it_got_from_peer", "Rule04Names/names_are_exact_from_peer", "Rule04Names/valid_names_from_peer", "Rule05Capacity/group_send_skips_full_from_peer", "Rule05Capacity/slow_channel_delays_no_other*", "Rule06Expiry/*", "Rule07Groups/*", "Rule08Size/limit_is_exact*", "Rule08Size/million_bytes_from_peer", "Rule09Receive/waits*", "Rule10Failure/long_deadline_from_peer", "Rule11Close/peers_go_on", "Rule12NothingSilent/books_balance*", "Rule12NothingSilent/no_gap_without_cause_from_peer", "Rule12NothingSilent/stats", "Rule13Concurrency/join_send_leave_from_peer"},
		wrap: func(m *making) layer.Layer {
			p := onBus(m.good())
			return &hooked{Layer: p, groupSend: p.own.GroupSend}
		}},
	{name: "GroupAdd of another process's channel does nothing",
		must: []string{"Rule07Groups/added_by_peer"},
		may:  []string{"Rule07Groups/outlives_adder"},
		wrap: func(m *making) layer.Layer {
			p := onBus(m.good())
			return &hooked{Layer: p, groupAdd: func(ctx context.Context, group, channel string) error {
				if p.foreign(channel) {
					return p.own.GroupAdd(ctx, group, channel)
				}
				return p.GroupAdd(ctx, group, channel)
			}}
		}},
	{name: "GroupDiscard of another process's channel does nothing",
		must: []string{"Rule07Groups/added_by_peer"},
		wrap: func(m *making) layer.Layer {
			p := onBus(m.good())
			return &hooked{Layer: p, groupDiscard: func(ctx context.Context, group, channel string) error {
				if p.foreign(channel) {
					return p.own.GroupDiscard(ctx, group, channel)
				}
				return p.GroupDiscard(ctx, group, channel)
			}}
		}},
	{name: "Send does not reach other processes",
		must: []string{"Rule02FIFO/send_only_from_peer", "Rule11Close/peers_go_on"},
		may:  []string{"Optional/flush_from_peer", "Optional/stats_while_busy", "Rule01AtMostOnce/*_from_peer", "Rule02FIFO/*", "Rule03Isolation/empty_message_from_peer", "Rule03Isolation/invalid_message_from_peer", "Rule03Isolation/maker_changes_its_map_from_peer", "Rule04Names/names_are_exact_from_peer", "Rule04Names/valid_names_from_peer", "Rule05Capacity/*", "Rule06Expiry/*", "Rule07Groups/*", "Rule08Size/limit_is_exact*", "Rule08Size/million_bytes_from_peer", "Rule09Receive/*", "Rule10Failure/long_deadline_from_peer", "Rule12NothingSilent/no_gap_without_cause_from_peer", "Rule12NothingSilent/refused_is_not_dropped", "Rule12NothingSilent/stats"},
		wrap: func(m *making) layer.Layer {
			p := onBus(m.good())
			return &hooked{Layer: p, send: p.own.Send, receive: p.own.Receive}
		}},
	{name: "readers of a normal channel in several processes each get all",
		must: []string{"Rule01AtMostOnce/receivers_in_two_processes"},
		may:  []string{"Optional/stats_while_busy", "Rule02FIFO/cancelled_receives_between_from_peer", "Rule02FIFO/normal_channel_one_reader*", "Rule02FIFO/receive_batch_from_peer", "Rule05Capacity/exact_normal_channel_from_peer", "Rule05Capacity/slow_channel_delays_no_other*", "Rule06Expiry/delivered_before*", "Rule06Expiry/normal_channel_not_abandoned*", "Rule06Expiry/not_delivered_after_from_peer", "Rule07Groups/*", "Rule08Size/limit_is_exact*", "Rule09Receive/cancel_consumes_nothing_from_peer", "Rule09Receive/cancel_serves_the_next_from_peer", "Rule09Receive/waits*", "Rule12NothingSilent/books_balance_from_peer", "Rule12NothingSilent/stats"},
		wrap: func(m *making) layer.Layer {
			p := onBus(m.good())
			return &hooked{
				Layer: p,
				send: func(ctx context.Context, channel string, msg layer.Message) error {
					if layer.ValidateChannel(channel) != nil || layer.IsProcessSpecific(channel) || p.closed.Err() != nil {
						return p.Send(ctx, channel, msg)
					}
					for _, other := range p.bus.all() {
						if err := other.own.Send(ctx, channel, msg); err != nil {
							return err
						}
					}
					return nil
				},
				receive: p.own.Receive,
			}
		}},
	{name: "Receive takes messages of another process's channel",
		must: []string{"Rule09Receive/foreign_channel_of_peer"},
		may:  []string{"Rule12NothingSilent/stats"},
		wrap: func(m *making) layer.Layer {
			p := onBus(m.good())
			return &hooked{Layer: p, receive: func(ctx context.Context, channel string) (layer.Message, error) {
				if p.foreign(channel) {
					return p.place(channel).Receive(ctx, channel)
				}
				return p.Receive(ctx, channel)
			}}
		}},
	{name: "every 50th message to another process comes twice",
		must: []string{"Rule01AtMostOnce/many_receivers_own_channel_from_peer", "Rule02FIFO/send_only_from_peer"},
		may:  []string{"Rule02FIFO/*_from_peer", "Rule04Names/valid_names_from_peer", "Rule05Capacity/slow_channel_delays_no_other_from_peer", "Rule07Groups/members_come_and_go_from_peer", "Rule09Receive/cancel_consumes_nothing_from_peer", "Rule09Receive/cancel_serves_the_next_from_peer", "Rule12NothingSilent/books_balance_from_peer"},
		wrap: func(m *making) layer.Layer {
			p, rare := onBus(m.good()), every{n: 50}
			return &hooked{Layer: p, send: func(ctx context.Context, channel string, msg layer.Message) error {
				err := p.Send(ctx, channel, msg)
				if err == nil && p.foreign(channel) && rare.nth() {
					p.Send(ctx, channel, msg)
				}
				return err
			}}
		}},
	{name: "group sends to another process overtake sends",
		must: []string{"Rule02FIFO/send_and_group_send_mixed_from_peer"},
		may:  []string{"Rule02FIFO/sizes_mixed_from_peer", "Rule03Isolation/invalid_message_from_peer", "Rule05Capacity/full_in_another_process", "Rule05Capacity/slow_channel_delays_no_other_from_peer", "Rule06Expiry/delivered_before_from_peer", "Rule06Expiry/own_channel_with_reader_from_peer", "Rule08Size/limit_is_exact_from_peer", "Rule10Failure/long_deadline_from_peer", "Rule11Close/during_calls_from_peer", "Rule11Close/peers_go_on", "Rule12NothingSilent/books_balance_from_peer", "Rule12NothingSilent/no_gap_without_cause_from_peer"},
		wrap: func(m *making) layer.Layer {
			p := onBus(m.good())
			type late struct {
				channel string
				msg     layer.Message
			}
			sends := make(chan late, 1024)
			go func() {
				for {
					select {
					case s := <-sends:
						p.Send(m.stop, s.channel, s.msg)
					case <-p.closed.Done():
						return
					}
				}
			}()
			return &hooked{Layer: p, send: func(ctx context.Context, channel string, msg layer.Message) error {
				if !p.foreign(channel) || ctx.Err() != nil || msg.Size() > 1000 {
					return p.Send(ctx, channel, msg)
				}
				sends <- late{channel, msg}
				return nil
			}}
		}},
	{name: "Send drops in silence where the reader is elsewhere and has no room",
		must: []string{"Rule05Capacity/full_in_another_process"},
		may:  []string{"Rule12NothingSilent/books_balance_from_peer"},
		wrap: func(m *making) layer.Layer {
			p := onBus(m.good())
			return &hooked{Layer: p, send: func(ctx context.Context, channel string, msg layer.Message) error {
				err := p.Send(ctx, channel, msg)
				if err == layer.ErrChannelFull && p.foreign(channel) {
					return nil
				}
				return err
			}}
		}},
	{name: "Close closes the other processes, too",
		must: []string{"Rule11Close/peers_go_on"},
		may:  []string{"Rule07Groups/outlives_adder"},
		wrap: func(m *making) layer.Layer {
			p := onBus(m.good())
			return &hooked{Layer: p, close: func() error {
				for _, other := range p.bus.all() {
					other.Close()
				}
				return p.Close()
			}}
		}},
	{name: "sends to the channels of a closed process return nil",
		must: []string{"Rule11Close/peers_go_on"},
		wrap: func(m *making) layer.Layer {
			p := onBus(m.good())
			return &hooked{Layer: p, send: func(ctx context.Context, channel string, msg layer.Message) error {
				err := p.Send(ctx, channel, msg)
				if err == layer.ErrChannelGone && p.foreign(channel) {
					return nil
				}
				return err
			}}
		}},
	{name: "Flush empties only its own process",
		must: []string{"Optional/flush_from_peer"},
		may:  []string{"Optional/flush"},
		wrap: func(m *making) layer.Layer {
			p := onBus(m.good())
			return &hooked{Layer: p, flush: func(ctx context.Context) error { return layer.Flush(ctx, p.own) }}
		}},
	{name: "processes number their channels without telling each other",
		must: []string{"Rule04Names/new_channel_unique_between_processes"},
		may:  []string{"Optional/flush", "Rule03Isolation/receiver_changes_what_it_got*", "Rule04Names/invalid_prefix", "Rule04Names/names_are_exact*", "Rule04Names/new_channel", "Rule05Capacity/first_rule_counts", "Rule05Capacity/group_send_skips_full*", "Rule05Capacity/slow_channel_delays_no_other*", "Rule06Expiry/owner_comes_back", "Rule07Groups/*", "Rule11Close/during_calls*", "Rule11Close/wakes_receivers", "Rule12NothingSilent/*", "Rule13Concurrency/join_send_leave*", "Rule13Concurrency/one_message_shared"},
		wrap: func(m *making) layer.Layer {
			p := onBus(m.good())
			var made atomic.Int64
			return &hooked{Layer: p, newChannel: func(ctx context.Context, prefix string) (string, error) {
				name, err := p.NewChannel(ctx, prefix)
				if n := made.Add(1); err == nil && n > 2 {
					return layer.DefaultPrefix + ".same!" + strconv.FormatInt(n, 10), nil
				}
				return name, err
			}}
		}},
})

func betweenProcesses(layers []broken) []broken {
	for i := range layers {
		layers[i].peers = true
	}
	return layers
}

// foreign reports whether another process made the channel.
func (p *process) foreign(channel string) bool {
	place := p.place(channel)
	return place != p.own && place != p.bus.normal
}
