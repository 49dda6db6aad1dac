package layertest

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/channellayer/channellayer/layer"
)

// brokenFailure breaks rules 10, 12 and what rules 3 and 9 say of errors.
var brokenFailure = []broken{
	// Errors.
	{name: "Send does not look at a ctx that is done",
		must: []string{"Rule10Failure/ended_ctx"},
		may:  []string{"Rule10Failure/outcome_of_errors", "Rule12NothingSilent/refused_is_not_dropped"},
		wrap: func(m *making) layer.Layer {
			good := m.good()
			return &hooked{Layer: good, send: func(ctx context.Context, channel string, msg layer.Message) error {
				return good.Send(context.WithoutCancel(ctx), channel, msg)
			}}
		}},
	{name: "GroupSend does not look at a ctx that is done",
		must: []string{"Rule10Failure/ended_ctx"},
		may:  []string{"Rule10Failure/outcome_of_errors", "Rule12NothingSilent/refused_is_not_dropped"},
		wrap: func(m *making) layer.Layer {
			good := m.good()
			return &hooked{Layer: good, groupSend: func(ctx context.Context, group string, msg layer.Message) error {
				return good.GroupSend(context.WithoutCancel(ctx), group, msg)
			}}
		}},
	{name: "GroupAdd and GroupDiscard do not look at a ctx that is done",
		must: []string{"Rule10Failure/ended_ctx"},
		wrap: func(m *making) layer.Layer {
			good := m.good()
			return &hooked{
				Layer: good,
				groupAdd: func(ctx context.Context, group, channel string) error {
					return good.GroupAdd(context.WithoutCancel(ctx), group, channel)
				},
				groupDiscard: func(ctx context.Context, group, channel string) error {
					return good.GroupDiscard(context.WithoutCancel(ctx), group, channel)
				},
			}
		}},
	{name: "NewChannel does not look at a ctx that is done",
		must: []string{"Rule10Failure/ended_ctx"},
		wrap: func(m *making) layer.Layer {
			good := m.good()
			return &hooked{Layer: good, newChannel: func(ctx context.Context, prefix string) (string, error) {
				return good.NewChannel(context.WithoutCancel(ctx), prefix)
			}}
		}},
	{name: "Send does as it is told though ctx is done, and returns ctx's error",
		must: []string{"Rule10Failure/ended_ctx"},
		may:  []string{"Rule12NothingSilent/refused_is_not_dropped"},
		wrap: func(m *making) layer.Layer {
			good := m.good()
			return &hooked{Layer: good, send: func(ctx context.Context, channel string, msg layer.Message) error {
				if err := ctx.Err(); err != nil && good.Send(context.WithoutCancel(ctx), channel, msg) == nil {
					return layer.NotSent(err)
				}
				return good.Send(ctx, channel, msg)
			}}
		}},
	{name: "errors match both ErrNotSent and ErrMaybeSent",
		must: []string{"Rule10Failure/outcome_of_errors"},
		may:  []string{"Rule02FIFO/after_full*", "Rule03Isolation/invalid_message*", "Rule04Names/invalid_channel", "Rule04Names/invalid_group", "Rule05Capacity/*", "Rule06Expiry/abandoned*", "Rule06Expiry/owner_comes_back", "Rule08Size/default_limit", "Rule08Size/limit_is_exact*", "Rule09Receive/released", "Rule09Receive/unknown_channel", "Rule10Failure/ended_ctx", "Rule11Close/during_calls*", "Rule11Close/methods_afterwards", "Rule11Close/peers_go_on", "Rule12NothingSilent/books_balance*", "Rule12NothingSilent/refused_is_not_dropped"},
		wrap: sendErrors(func(err error) error {
			return errors.Join(err, layer.ErrMaybeSent)
		})},
	{name: "errors match neither ErrNotSent nor ErrMaybeSent",
		must: []string{"Rule10Failure/outcome_of_errors"},
		may:  []string{"Rule02FIFO/after_full*", "Rule03Isolation/invalid_message*", "Rule04Names/invalid_channel", "Rule04Names/invalid_group", "Rule05Capacity/*", "Rule06Expiry/abandoned*", "Rule06Expiry/owner_comes_back", "Rule08Size/default_limit", "Rule08Size/limit_is_exact*", "Rule09Receive/released", "Rule09Receive/unknown_channel", "Rule10Failure/ended_ctx", "Rule11Close/during_calls*", "Rule11Close/methods_afterwards", "Rule11Close/peers_go_on", "Rule12NothingSilent/books_balance*", "Rule12NothingSilent/refused_is_not_dropped"},
		wrap: sendErrors(func(err error) error {
			return hiding{err, layer.ErrNotSent}
		})},
	{name: "sends say ErrMaybeSent where nothing was sent",
		must: []string{"Rule10Failure/outcome_of_errors"},
		may:  []string{"Rule03Isolation/invalid_message*", "Rule04Names/invalid_channel", "Rule04Names/invalid_group", "Rule05Capacity/*", "Rule06Expiry/abandoned*", "Rule08Size/default_limit", "Rule08Size/limit_is_exact*", "Rule09Receive/released", "Rule09Receive/unknown_channel", "Rule10Failure/ended_ctx", "Rule11Close/methods_afterwards"},
		wrap: sendErrors(func(err error) error {
			return errors.Join(hiding{err, layer.ErrNotSent}, layer.ErrMaybeSent)
		})},
	{name: "sends hide ctx's error",
		must: []string{"Rule10Failure/ended_ctx"},
		may:  []string{"Rule10Failure/outcome_of_errors"},
		wrap: sendErrors(func(err error) error {
			if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
				return layer.NotSent(errors.New("interrupted"))
			}
			return err
		})},
	{name: "errors lose their identity",
		must: []string{"Rule10Failure/outcome_of_errors", "Rule04Names/invalid_channel", "Rule04Names/invalid_group"},
		may:  []string{"Rule03Isolation/invalid_message*", "Rule05Capacity/*", "Rule06Expiry/abandoned*", "Rule06Expiry/owner_comes_back", "Rule08Size/default_limit", "Rule08Size/limit_is_exact*", "Rule09Receive/released", "Rule09Receive/unknown_channel", "Rule10Failure/ended_ctx", "Rule11Close/during_calls*", "Rule11Close/methods_afterwards", "Rule11Close/peers_go_on"},
		wrap: sendErrors(func(err error) error {
			return layer.NotSent(fmt.Errorf("cannot send: %v", err))
		})},
	{name: "an invalid message panics",
		must: []string{"Rule03Isolation/invalid_message*"},
		may:  []string{"Rule10Failure/outcome_of_errors"},
		wrap: func(m *making) layer.Layer {
			good := m.good()
			return &hooked{Layer: good, send: func(ctx context.Context, channel string, msg layer.Message) error {
				if err := msg.Err(); err != nil {
					panic(err)
				}
				return good.Send(ctx, channel, msg)
			}}
		}},
	{name: "an invalid message arrives empty",
		must: []string{"Rule03Isolation/invalid_message*"},
		may:  []string{"Rule10Failure/outcome_of_errors"},
		wrap: func(m *making) layer.Layer {
			good := m.good()
			return &hooked{Layer: good, send: func(ctx context.Context, channel string, msg layer.Message) error {
				if msg.Err() != nil {
					msg = layer.Message{}
				}
				return good.Send(ctx, channel, msg)
			}}
		}},
	{name: "after an invalid message no other can be sent",
		must: []string{"Rule03Isolation/invalid_message*"},
		may:  []string{"Rule10Failure/outcome_of_errors"},
		wrap: func(m *making) layer.Layer {
			good := m.good()
			var spoiled atomic.Bool
			return &hooked{Layer: good, send: func(ctx context.Context, channel string, msg layer.Message) error {
				if spoiled.Load() {
					return layer.NotSent(errors.New("cannot encode"))
				}
				if msg.Err() != nil {
					spoiled.Store(true)
				}
				return good.Send(ctx, channel, msg)
			}}
		}},
	{name: "Send to a channel that is gone returns nil",
		must: []string{"Rule09Receive/unknown_channel", "Rule09Receive/released"},
		may:  []string{"Rule06Expiry/abandoned*", "Rule06Expiry/owner_comes_back", "Rule10Failure/outcome_of_errors", "Rule11Close/peers_go_on", "Rule12NothingSilent/refused_is_not_dropped"},
		wrap: func(m *making) layer.Layer {
			good := m.good()
			return &hooked{Layer: good, send: func(ctx context.Context, channel string, msg layer.Message) error {
				err := good.Send(ctx, channel, msg)
				if errors.Is(err, layer.ErrChannelGone) {
					return nil
				}
				return err
			}}
		}},
	{name: "Send takes ten minutes",
		must: []string{"Rule10Failure/long_deadline*"},
		may:  []string{"Optional/flush*", "Rule01AtMostOnce/*", "Rule02FIFO/*", "Rule03Isolation/empty_message*", "Rule03Isolation/invalid_message*", "Rule03Isolation/maker_changes_its_map*", "Rule04Names/*", "Rule05Capacity/*", "Rule06Expiry/*", "Rule07Groups/*", "Rule08Size/default_limit", "Rule08Size/limit_is_exact*", "Rule08Size/million_bytes*", "Rule09Receive/*", "Rule10Failure/ended_ctx", "Rule10Failure/outcome_of_errors", "Rule11Close/*", "Rule12NothingSilent/*", "Rule13Concurrency/one_message_shared"},
		wrap: func(m *making) layer.Layer {
			good := m.good()
			return &hooked{Layer: good, send: func(ctx context.Context, channel string, msg layer.Message) error {
				if ctx.Err() == nil {
					slow, cancel := context.WithTimeout(ctx, 10*time.Minute)
					defer cancel()
					m.hang(slow)
				}
				return good.Send(ctx, channel, msg)
			}}
		}},

	// Counting and reporting.
	{name: "a gap is reported for nothing",
		must: []string{"Rule12NothingSilent/no_gap_without_cause*"},
		may:  []string{"Optional/flush*", "Optional/stats_while_busy", "Rule01AtMostOnce/group_member_added_twice*", "Rule02FIFO/*", "Rule03Isolation/*", "Rule04Names/*", "Rule05Capacity/group_send_skips_full*", "Rule05Capacity/slow_channel_delays_no_other*", "Rule06Expiry/*", "Rule07Groups/*", "Rule08Size/default_limit", "Rule08Size/limit_is_exact*", "Rule08Size/million_bytes*", "Rule09Receive/released", "Rule09Receive/unknown_channel", "Rule09Receive/waits*", "Rule10Failure/ended_ctx", "Rule10Failure/long_deadline*", "Rule10Failure/outcome_of_errors", "Rule11Close/*", "Rule12NothingSilent/*", "Rule13Concurrency/join_send_leave*", "Rule13Concurrency/one_message_shared"},
		wrap: func(m *making) layer.Layer {
			good := m.good()
			return &hooked{Layer: good, groupAdd: func(ctx context.Context, group, channel string) error {
				if m.Observer.Gap != nil {
					m.Observer.Gap(time.Now(), time.Now(), "new member")
				}
				return good.GroupAdd(ctx, group, channel)
			}}
		}},
	{name: "messages for full members are dropped in silence",
		must: []string{"Rule05Capacity/group_send_skips_full*", "Rule12NothingSilent/reasons"},
		may:  []string{"Optional/stats_while_busy", "Rule12NothingSilent/books_balance*", "Rule12NothingSilent/stats"},
		wrap: reporting(func(r layer.DropReason, n int) (layer.DropReason, int) {
			if r == layer.DropFull {
				n = 0
			}
			return r, n
		})},
	{name: "messages expire in silence",
		must: []string{"Rule06Expiry/counted_untouched", "Rule12NothingSilent/reasons"},
		may:  []string{"Rule06Expiry/not_delivered_after*", "Rule06Expiry/own_channel_with_reader*", "Rule12NothingSilent/books_balance*", "Rule12NothingSilent/stats"},
		wrap: reporting(func(r layer.DropReason, n int) (layer.DropReason, int) {
			if r == layer.DropExpired {
				n = 0
			}
			return r, n
		})},
	{name: "messages of released channels are dropped in silence",
		must: []string{"Rule09Receive/released", "Rule12NothingSilent/reasons"},
		may:  []string{"Optional/flush", "Rule11Close/unread_counted", "Rule12NothingSilent/stats"},
		wrap: reporting(func(r layer.DropReason, n int) (layer.DropReason, int) {
			if r == layer.DropClosed {
				n = 0
			}
			return r, n
		})},
	{name: "drops are reported twice",
		must: []string{"Rule12NothingSilent/reasons", "Rule12NothingSilent/stats"},
		may:  []string{"Optional/flush", "Optional/stats_while_busy", "Rule05Capacity/group_send_skips_full*", "Rule06Expiry/counted_untouched", "Rule06Expiry/not_delivered_after*", "Rule06Expiry/own_channel_with_reader*", "Rule09Receive/released", "Rule11Close/unread_counted", "Rule12NothingSilent/books_balance*"},
		wrap: reporting(func(r layer.DropReason, n int) (layer.DropReason, int) { return r, 2 * n })},
	{name: "expired messages are reported as full",
		must: []string{"Rule12NothingSilent/reasons"},
		may:  []string{"Rule06Expiry/counted_untouched", "Rule06Expiry/not_delivered_after*", "Rule06Expiry/own_channel_with_reader*", "Rule12NothingSilent/stats"},
		wrap: reporting(func(r layer.DropReason, n int) (layer.DropReason, int) {
			if r == layer.DropExpired {
				r = layer.DropFull
			}
			return r, n
		})},
	{name: "messages for full members are reported as closed",
		must: []string{"Rule12NothingSilent/reasons"},
		may:  []string{"Optional/stats_while_busy", "Rule05Capacity/group_send_skips_full*", "Rule12NothingSilent/stats"},
		wrap: reporting(func(r layer.DropReason, n int) (layer.DropReason, int) {
			if r == layer.DropFull {
				r = layer.DropClosed
			}
			return r, n
		})},
	{name: "drops are reported without the channel",
		must: []string{"Rule12NothingSilent/reasons"},
		may:  []string{"Optional/flush", "Rule05Capacity/group_send_skips_full*", "Rule06Expiry/counted_untouched", "Rule06Expiry/not_delivered_after*", "Rule06Expiry/own_channel_with_reader*", "Rule09Receive/released"},
		wrap: func(m *making) layer.Layer {
			return m.withObserver(func(o *layer.Observer) {
				o.Dropped = func(r layer.DropReason, _ string, n int) { m.dropped(r, "", n) }
			})
		}},
	{name: "the observer is called with a lock held",
		must: []string{"Rule12NothingSilent/observer_may_call_back"},
		wrap: func(m *making) layer.Layer {
			good, lock := m.good(), newLock()
			return &hooked{
				Layer: good,
				send: func(ctx context.Context, channel string, msg layer.Message) (err error) {
					lock.do(func() { err = good.Send(ctx, channel, msg) })
					return err
				},
				groupSend: func(ctx context.Context, group string, msg layer.Message) (err error) {
					lock.do(func() { err = good.GroupSend(ctx, group, msg) })
					return err
				},
				stats: func() (stats layer.Stats) {
					lock.do(func() { stats, _ = layer.ReadStats(good) })
					return stats
				},
			}
		}},
	{name: "Stats counts what was received twice",
		must: []string{"Rule12NothingSilent/stats"},
		may:  []string{"Optional/stats_while_busy"},
		wrap: counting(func(s *layer.Stats) { s.Received *= 2 })},
	{name: "Stats does not count what was sent",
		must: []string{"Rule12NothingSilent/stats"},
		may:  []string{"Rule12NothingSilent/refused_is_not_dropped"},
		wrap: counting(func(s *layer.Stats) { s.Sent = 0 })},
	{name: "Stats does not count what was sent to groups",
		must: []string{"Rule12NothingSilent/stats", "Optional/stats_while_busy"},
		wrap: counting(func(s *layer.Stats) { s.GroupSent = 0 })},
	{name: "Stats does not count drops",
		must: []string{"Rule12NothingSilent/stats"},
		may:  []string{"Optional/stats_while_busy", "Rule05Capacity/group_send_skips_full", "Rule06Expiry/counted_untouched", "Rule11Close/unread_counted"},
		wrap: counting(func(s *layer.Stats) { s.Dropped = layer.Drops{} })},
	{name: "Stats does not count abandoned channels",
		must: []string{"Rule12NothingSilent/stats"},
		may:  []string{"Rule06Expiry/abandoned*"},
		wrap: counting(func(s *layer.Stats) { s.Abandoned = 0 })},
	{name: "Stats counts a gap for nothing",
		must: []string{"Rule12NothingSilent/stats"},
		wrap: counting(func(s *layer.Stats) { s.Gaps++ })},
}

// sendErrors makes a layer that passes the errors of its sends through f.
func sendErrors(f func(error) error) func(*making) layer.Layer {
	return func(m *making) layer.Layer {
		good := m.good()
		return &hooked{
			Layer: good,
			send: func(ctx context.Context, channel string, msg layer.Message) error {
				if err := good.Send(ctx, channel, msg); err != nil {
					return f(err)
				}
				return nil
			},
			groupSend: func(ctx context.Context, group string, msg layer.Message) error {
				if err := good.GroupSend(ctx, group, msg); err != nil {
					return f(err)
				}
				return nil
			},
		}
	}
}

// hiding is an error that matches what err does, but for one.
type hiding struct{ err, hidden error }

func (h hiding) Error() string        { return h.err.Error() }
func (h hiding) Is(target error) bool { return target != h.hidden && errors.Is(h.err, target) }

// reporting makes a layer that passes the drops it reports through f, both to
// the observer and in Stats.
func reporting(f func(layer.DropReason, int) (layer.DropReason, int)) func(*making) layer.Layer {
	return func(m *making) layer.Layer {
		good := m.withObserver(func(o *layer.Observer) {
			o.Dropped = func(reason layer.DropReason, name string, count int) {
				if reason, count = f(reason, count); count > 0 {
					m.dropped(reason, name, count)
				}
			}
		})
		return &hooked{Layer: good, stats: func() layer.Stats {
			stats, _ := layer.ReadStats(good)
			var drops layer.Drops
			for reason, count := range stats.Dropped {
				reason, count := f(layer.DropReason(reason), int(count))
				drops[reason] += uint64(count)
			}
			stats.Dropped = drops
			return stats
		}}
	}
}

// counting makes a layer that passes its Stats through f.
func counting(f func(*layer.Stats)) func(*making) layer.Layer {
	return func(m *making) layer.Layer {
		good := m.good()
		return &hooked{Layer: good, stats: func() layer.Stats {
			stats, _ := layer.ReadStats(good)
			f(&stats)
			return stats
		}}
	}
}
