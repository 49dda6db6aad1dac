package layertest

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/channellayer/channellayer/layer"
)

// brokenGroups breaks rule 7, and what rule 5 says of groups.
var brokenGroups = []broken{
	{name: "GroupDiscard does nothing",
		must: []string{"Model/*", "Rule07Groups/add_send_discard*"},
		may:  []string{"Rule04Names/valid_names*", "Rule07Groups/*", "Rule11Close/methods_afterwards"},
		wrap: func(m *making) layer.Layer {
			good := m.good()
			return &hooked{Layer: good, groupDiscard: func(ctx context.Context, group, channel string) error {
				if layer.ValidateGroup(group) != nil || layer.ValidateChannel(channel) != nil || ctx.Err() != nil {
					return good.GroupDiscard(ctx, group, channel)
				}
				return nil
			}}
		}},
	{name: "GroupDiscard of no member is an error",
		must: []string{"Rule07Groups/discard_non_member*"},
		may:  []string{"Rule07Groups/added_by_peer", "Rule07Groups/members_come_and_go*"},
		wrap: func(m *making) layer.Layer {
			good := m.good()
			var groups memberships
			h := groups.watching(good)
			h.groupDiscard = func(ctx context.Context, group, channel string) error {
				if err := good.GroupDiscard(ctx, group, channel); err != nil || groups.discard(group, channel) {
					return err
				}
				return &layer.Error{Op: "discard", Name: channel, Err: layer.ErrChannelGone}
			}
			return h
		}},
	{name: "GroupDiscard ends all memberships of the channel",
		must: []string{"Rule07Groups/channel_in_many_groups*"},
		may:  []string{"Rule07Groups/discard_non_member*"},
		wrap: func(m *making) layer.Layer {
			good := m.good()
			var groups memberships
			h := groups.watching(good)
			h.groupDiscard = func(ctx context.Context, group, channel string) error {
				for _, g := range groups.with(channel) {
					groups.discard(g, channel)
					good.GroupDiscard(ctx, g, channel)
				}
				return good.GroupDiscard(ctx, group, channel)
			}
			return h
		}},
	{name: "a channel added twice gets each message twice",
		must: []string{"Rule01AtMostOnce/group_member_added_twice"},
		may:  []string{"Optional/flush", "Rule07Groups/added_by_peer", "Rule07Groups/members_come_and_go", "Rule07Groups/renewed"},
		wrap: func(m *making) layer.Layer {
			good := m.good()
			var once, twice memberships
			return &hooked{
				Layer: good,
				groupAdd: func(ctx context.Context, group, channel string) error {
					err := good.GroupAdd(ctx, group, channel)
					if err == nil && !once.add(group, channel) {
						twice.add(group, channel)
					}
					return err
				},
				groupDiscard: func(ctx context.Context, group, channel string) error {
					once.discard(group, channel)
					twice.discard(group, channel)
					return good.GroupDiscard(ctx, group, channel)
				},
				groupSend: func(ctx context.Context, group string, msg layer.Message) error {
					err := good.GroupSend(ctx, group, msg)
					for _, channel := range twice.of(group) {
						if err == nil {
							good.Send(ctx, channel, msg)
						}
					}
					return err
				},
			}
		}},
	{name: "GroupAdd takes effect a little later than it returns",
		must: []string{"Rule07Groups/add_send_discard*", "Rule07Groups/many_members*"},
		may:  []string{"Optional/flush*", "Optional/stats_while_busy", "Rule01AtMostOnce/group_member_added_twice*", "Rule02FIFO/*", "Rule03Isolation/empty_message*", "Rule03Isolation/maker_changes_its_map*", "Rule03Isolation/receiver_changes_what_it_got*", "Rule04Names/*", "Rule05Capacity/group_send_skips_full*", "Rule05Capacity/slow_channel_delays_no_other*", "Rule06Expiry/*", "Rule07Groups/*", "Rule08Size/default_limit", "Rule08Size/limit_is_exact*", "Rule08Size/million_bytes*", "Rule09Receive/released", "Rule09Receive/unknown_channel", "Rule10Failure/ended_ctx", "Rule10Failure/long_deadline*", "Rule11Close/methods_afterwards", "Rule11Close/peers_go_on", "Rule11Close/unread_counted", "Rule12NothingSilent/*", "Rule13Concurrency/join_send_leave*", "Rule13Concurrency/one_message_shared"},
		wrap: func(m *making) layer.Layer {
			good := m.good()
			return &hooked{Layer: good, groupAdd: func(ctx context.Context, group, channel string) error {
				if ctx.Err() != nil || layer.ValidateGroup(group) != nil || layer.ValidateChannel(channel) != nil {
					return good.GroupAdd(ctx, group, channel)
				}
				late := context.WithoutCancel(ctx)
				time.AfterFunc(10*time.Millisecond, func() { good.GroupAdd(late, group, channel) })
				return nil
			}}
		}},
	{name: "only process-specific channels can be members",
		must: []string{"Rule07Groups/normal_channel_member*"},
		may:  []string{"Optional/flush", "Rule02FIFO/normal_channel_one_reader*", "Rule03Isolation/invalid_message*", "Rule05Capacity/slow_channel_delays_no_other*", "Rule06Expiry/delivered_before*", "Rule06Expiry/normal_channel_not_abandoned*", "Rule06Expiry/not_delivered_after*", "Rule07Groups/added_by_peer", "Rule07Groups/expires*", "Rule07Groups/members_come_and_go*", "Rule08Size/limit_is_exact*", "Rule09Receive/waits*", "Rule11Close/during_calls*", "Rule11Close/leaves_nothing", "Rule12NothingSilent/books_balance*"},
		wrap: func(m *making) layer.Layer {
			good := m.good()
			return &hooked{Layer: good, groupAdd: func(ctx context.Context, group, channel string) error {
				if layer.ValidateChannel(channel) == nil && !layer.IsProcessSpecific(channel) {
					return &layer.Error{Op: "add", Name: channel, Err: layer.ErrInvalidName}
				}
				return good.GroupAdd(ctx, group, channel)
			}}
		}},
	{name: "memberships do not expire",
		must: []string{"Model/*", "Rule07Groups/expires*"},
		may:  []string{"Rule07Groups/renewed*"},
		wrap: func(m *making) layer.Layer {
			return m.withLimits(func(l *layer.Limits) { l.GroupExpiry *= 1000 })
		}},
	{name: "memberships expire after half the time",
		must: []string{"Rule07Groups/expires*"},
		may:  []string{"Rule07Groups/renewed*"},
		wrap: func(m *making) layer.Layer {
			return m.withLimits(func(l *layer.Limits) { l.GroupExpiry /= 2 })
		}},
	{name: "adding a member again does not renew its membership",
		must: []string{"Rule07Groups/renewed*"},
		may:  []string{"Optional/flush*", "Rule07Groups/added_by_peer", "Rule07Groups/expires*", "Rule07Groups/released_member*"},
		wrap: func(m *making) layer.Layer {
			good := m.good()
			var groups memberships
			return &hooked{
				Layer: good,
				groupAdd: func(ctx context.Context, group, channel string) error {
					if ctx.Err() == nil && !groups.add(group, channel) {
						return nil
					}
					return good.GroupAdd(ctx, group, channel)
				},
				groupDiscard: func(ctx context.Context, group, channel string) error {
					groups.discard(group, channel)
					return good.GroupDiscard(ctx, group, channel)
				},
			}
		}},
	{name: "sending to a group renews its memberships",
		must: []string{"Rule07Groups/expires"},
		may:  []string{"Optional/flush*", "Rule07Groups/added_by_peer", "Rule07Groups/renewed", "Rule10Failure/ended_ctx"},
		wrap: func(m *making) layer.Layer {
			good := m.good()
			var groups memberships
			h := groups.watching(good)
			h.groupSend = func(ctx context.Context, group string, msg layer.Message) error {
				for _, channel := range groups.of(group) {
					good.GroupAdd(ctx, group, channel)
				}
				return good.GroupSend(ctx, group, msg)
			}
			return h
		}},
	{name: "GroupSend returns ErrChannelFull",
		must: []string{"Rule05Capacity/group_send_skips_full"},
		may:  []string{"Optional/stats_while_busy", "Rule05Capacity/slow_channel_delays_no_other", "Rule12NothingSilent/*"},
		wrap: func(m *making) layer.Layer {
			var full atomic.Int64 // members so far
			good := m.withObserver(func(o *layer.Observer) {
				o.Dropped = func(reason layer.DropReason, name string, count int) {
					if reason == layer.DropFull {
						full.Add(int64(count))
					}
					m.dropped(reason, name, count)
				}
			})
			return &hooked{Layer: good, groupSend: func(ctx context.Context, group string, msg layer.Message) error {
				before := full.Load()
				err := good.GroupSend(ctx, group, msg)
				if full.Load() > before {
					return layer.ErrChannelFull
				}
				return err
			}}
		}},
	{name: "GroupSend ends at the first full member",
		must: []string{"Rule05Capacity/group_send_skips_full"},
		may:  []string{"Optional/flush", "Rule07Groups/expires", "Rule07Groups/members_in_two_processes", "Rule07Groups/renewed", "Rule12NothingSilent/books_balance", "Rule12NothingSilent/stats"},
		wrap: func(m *making) layer.Layer {
			var full atomic.Bool
			good := m.withObserver(func(o *layer.Observer) {
				o.Dropped = func(reason layer.DropReason, name string, count int) {
					full.CompareAndSwap(false, reason == layer.DropFull)
					m.dropped(reason, name, count)
				}
			})
			var groups memberships
			h := groups.watching(good)
			h.groupSend = func(ctx context.Context, group string, msg layer.Message) error {
				members := groups.of(group)
				if len(members) < 2 {
					return good.GroupSend(ctx, group, msg)
				}
				full.Store(false)
				for _, channel := range members { // a group of one for each
					const one = "group.of.one"
					good.GroupAdd(ctx, one, channel)
					err := good.GroupSend(ctx, one, msg)
					good.GroupDiscard(ctx, one, channel)
					if err != nil || full.Load() {
						return err
					}
				}
				return nil
			}
			return h
		}},
	{name: "GroupSend waits for members that are full",
		must: []string{"Rule05Capacity/slow_channel_delays_no_other"},
		may:  []string{"Optional/stats_while_busy", "Rule12NothingSilent/*"},
		wrap: func(m *making) layer.Layer {
			var full atomic.Bool
			good := m.withObserver(func(o *layer.Observer) {
				o.Dropped = func(reason layer.DropReason, name string, count int) {
					full.CompareAndSwap(false, reason == layer.DropFull)
					m.dropped(reason, name, count)
				}
			})
			return &hooked{Layer: good, groupSend: func(ctx context.Context, group string, msg layer.Message) error {
				full.Store(false)
				err := good.GroupSend(ctx, group, msg)
				if full.Load() {
					m.pause()
				}
				return err
			}}
		}},
	{name: "GroupSend to a group without members is an error",
		must: []string{"Rule07Groups/empty_group"},
		may:  []string{"Rule02FIFO/*_from_peer", "Rule03Isolation/empty_message_from_peer", "Rule03Isolation/maker_changes_its_map_from_peer", "Rule03Isolation/receiver_changes_what_it_got_from_peer", "Rule04Names/names_are_exact_from_peer", "Rule04Names/valid_names*", "Rule05Capacity/group_send_skips_full_from_peer", "Rule05Capacity/slow_channel_delays_no_other_from_peer", "Rule06Expiry/*_from_peer", "Rule07Groups/*", "Rule08Size/limit_is_exact_from_peer", "Rule08Size/million_bytes_from_peer", "Rule09Receive/waits_from_peer", "Rule10Failure/ended_ctx", "Rule10Failure/long_deadline_from_peer", "Rule11Close/during_calls_from_peer", "Rule11Close/peers_go_on", "Rule12NothingSilent/books_balance_from_peer", "Rule12NothingSilent/no_gap_without_cause_from_peer", "Rule12NothingSilent/stats", "Rule13Concurrency/join_send_leave_from_peer"},
		wrap: func(m *making) layer.Layer {
			good := m.good()
			var groups memberships
			h := groups.watching(good)
			h.groupSend = func(ctx context.Context, group string, msg layer.Message) error {
				if err := good.GroupSend(ctx, group, msg); err != nil || len(groups.of(group)) > 0 {
					return err
				}
				return &layer.Error{Op: "group send", Name: group, Err: layer.ErrChannelGone}
			}
			return h
		}},
	{name: "a member that is gone spoils sends to its groups",
		must: []string{"Rule07Groups/released_member"},
		may:  []string{"Rule10Failure/ended_ctx"},
		wrap: func(m *making) layer.Layer {
			good := m.good()
			var gone, groups memberships
			h := groups.watching(good)
			h.release = func(ctx context.Context, channel string) error {
				for _, group := range groups.with(channel) {
					gone.add(group, channel)
				}
				return layer.Release(ctx, good, channel)
			}
			h.groupSend = func(ctx context.Context, group string, msg layer.Message) error {
				if err := good.GroupSend(ctx, group, msg); err != nil || len(gone.of(group)) == 0 {
					return err
				}
				return layer.ErrChannelGone
			}
			return h
		}},
}
