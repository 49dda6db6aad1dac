package layertest

import (
	"context"
	"errors"
	"slices"
	"sync"

	"github.com/channellayer/channellayer/layer"
)

// brokenReceive breaks rule 9: who waits, for what, and in which order.
var brokenReceive = []broken{
	{name: "Receive does not hear that ctx ended",
		must: []string{"Rule10Failure/receive_ends_with_ctx", "Rule09Receive/ctx_error"},
		may:  []string{"Optional/stats_while_busy", "Rule01AtMostOnce/*", "Rule02FIFO/after_full*", "Rule05Capacity/concurrent_senders*", "Rule05Capacity/concurrent_senders_own_channel", "Rule09Receive/one_message_one_receiver", "Rule09Receive/order_of_arrival*", "Rule12NothingSilent/books_balance*", "Rule12NothingSilent/stats"},
		wrap: func(m *making) layer.Layer {
			good := m.good()
			return &hooked{Layer: good, receive: func(ctx context.Context, channel string) (layer.Message, error) {
				if err := ctx.Err(); err != nil {
					return layer.Message{}, err
				}
				deaf, cancel := m.deaf(ctx)
				defer cancel()
				return good.Receive(deaf, channel)
			}}
		}},
	{name: "Receive takes a message though ctx is done",
		must: []string{"Rule09Receive/ended_ctx_first"},
		may:  []string{"Rule01AtMostOnce/no_repeat_after_receive*", "Rule02FIFO/cancelled_receives_between*", "Rule09Receive/*", "Rule10Failure/ended_ctx", "Rule12NothingSilent/stats"},
		wrap: func(m *making) layer.Layer {
			good := m.good()
			return &hooked{Layer: good, receive: func(ctx context.Context, channel string) (layer.Message, error) {
				if err := ctx.Err(); err != nil {
					if msg, ok := takeNow(ctx, good, channel); ok {
						return msg, nil
					}
					return layer.Message{}, err
				}
				return good.Receive(ctx, channel)
			}}
		}},
	{name: "Receive with a ctx that is done loses a message",
		must: []string{"Rule09Receive/ended_ctx_first"},
		may:  []string{"Optional/stats_while_busy", "Rule01AtMostOnce/no_repeat_after_receive*", "Rule02FIFO/cancelled_receives_between*", "Rule09Receive/*", "Rule10Failure/ended_ctx", "Rule12NothingSilent/stats"},
		wrap: func(m *making) layer.Layer {
			good := m.good()
			return &hooked{Layer: good, receive: func(ctx context.Context, channel string) (layer.Message, error) {
				if err := ctx.Err(); err != nil {
					takeNow(ctx, good, channel)
					return layer.Message{}, err
				}
				return good.Receive(ctx, channel)
			}}
		}},
	{name: "a cancelled Receive loses the next message",
		must: []string{"Rule09Receive/cancel_consumes_nothing*", "Rule09Receive/cancel_serves_the_next*"},
		may:  []string{"Optional/*", "Rule01AtMostOnce/no_repeat_after_receive*", "Rule02FIFO/cancelled_receives_between*", "Rule09Receive/batch_cancelled", "Rule09Receive/order_of_arrival*", "Rule12NothingSilent/books_balance*", "Rule12NothingSilent/stats", "Rule13Concurrency/*"},
		wrap: func(m *making) layer.Layer {
			good := m.good()
			type answer struct {
				msg layer.Message
				err error
			}
			return &hooked{Layer: good, receive: func(ctx context.Context, channel string) (layer.Message, error) {
				if err := ctx.Err(); err != nil {
					return layer.Message{}, err
				}
				taken := make(chan answer, 1)
				go func() { // goes on waiting when nobody wants the answer any more
					deaf, cancel := m.deaf(ctx)
					defer cancel()
					msg, err := good.Receive(deaf, channel)
					taken <- answer{msg, err}
				}()
				select {
				case a := <-taken:
					return a.msg, a.err
				case <-ctx.Done():
					return layer.Message{}, ctx.Err()
				}
			}}
		}},
	{name: "a Receive cancelled while it takes a message loses it",
		must: []string{"Rule09Receive/cancel_consumes_nothing*"},
		may:  []string{"Optional/stats_while_busy", "Rule02FIFO/cancelled_receives_between*", "Rule09Receive/*", "Rule12NothingSilent/books_balance", "Rule12NothingSilent/stats"},
		wrap: func(m *making) layer.Layer {
			good := m.good()
			return &hooked{Layer: good, receive: func(ctx context.Context, channel string) (layer.Message, error) {
				msg, err := good.Receive(ctx, channel)
				if ctx.Err() != nil {
					return layer.Message{}, ctx.Err()
				}
				return msg, err
			}}
		}},
	{name: "the receiver that came last is served first",
		must: []string{"Rule09Receive/order_of_arrival*"},
		may:  []string{"Rule05Capacity/waiting_receivers_take_no_room", "Rule12NothingSilent/stats"},
		wrap: func(m *making) layer.Layer {
			good := m.good()
			var mu sync.Mutex
			waiting := map[string][]*waiter{} // by channel; the last one is in the good layer's Receive
			return &hooked{Layer: good, receive: func(ctx context.Context, channel string) (layer.Message, error) {
				w := &waiter{turn: make(chan struct{}, 1)}
				mu.Lock()
				if n := len(waiting[channel]); n > 0 {
					waiting[channel][n-1].interrupt()
				}
				w.give()
				waiting[channel] = append(waiting[channel], w)
				mu.Unlock()
				defer func() {
					mu.Lock()
					defer mu.Unlock()
					rest := slices.DeleteFunc(waiting[channel], func(o *waiter) bool { return o == w })
					if waiting[channel] = rest; len(rest) > 0 {
						rest[len(rest)-1].give()
					}
				}()
				for {
					select {
					case <-ctx.Done():
						return layer.Message{}, ctx.Err()
					case <-w.turn:
					}
					turn, cancel := context.WithCancel(ctx)
					w.during(cancel)
					msg, err := good.Receive(turn, channel)
					cancel()
					if err != context.Canceled || ctx.Err() != nil {
						return msg, err
					}
				}
			}}
		}},
	{name: "the end of ctx comes as an error of its own",
		must: []string{"Rule09Receive/ctx_error"},
		may:  []string{"Optional/stats_while_busy", "Rule01AtMostOnce/*", "Rule02FIFO/after_full*", "Rule05Capacity/concurrent_senders*", "Rule05Capacity/concurrent_senders_own_channel", "Rule09Receive/*", "Rule10Failure/ended_ctx", "Rule10Failure/receive_ends_with_ctx", "Rule12NothingSilent/stats"},
		wrap: func(m *making) layer.Layer {
			good := m.good()
			return &hooked{Layer: good, receive: func(ctx context.Context, channel string) (layer.Message, error) {
				msg, err := good.Receive(ctx, channel)
				if ctx.Err() != nil && err != nil {
					return msg, errors.New("interrupted")
				}
				return msg, err
			}}
		}},
	{name: "Receive waits on a channel that another process made",
		must: []string{"Rule09Receive/foreign_channel", "Rule09Receive/foreign_channel_of_peer"},
		may:  []string{"Rule12NothingSilent/stats"},
		wrap: func(m *making) layer.Layer {
			good := m.good()
			return &hooked{Layer: good, receive: func(ctx context.Context, channel string) (layer.Message, error) {
				msg, err := good.Receive(ctx, channel)
				if errors.Is(err, layer.ErrForeignChannel) {
					return msg, m.hang(ctx)
				}
				return msg, err
			}}
		}},
	{name: "Receive waits on a channel that is gone",
		must: []string{"Rule09Receive/released", "Rule09Receive/release_wakes_receivers"},
		may:  []string{"Rule06Expiry/abandoned*", "Rule06Expiry/owner_comes_back", "Rule09Receive/unknown_channel", "Rule12NothingSilent/stats"},
		wrap: func(m *making) layer.Layer {
			good := m.good()
			return &hooked{Layer: good, receive: func(ctx context.Context, channel string) (layer.Message, error) {
				msg, err := good.Receive(ctx, channel)
				if errors.Is(err, layer.ErrChannelGone) {
					return msg, m.hang(ctx)
				}
				return msg, err
			}}
		}},
	{name: "ReceiveBatch fills the buffer from the end",
		must: []string{"Rule02FIFO/receive_batch*", "Rule09Receive/batch"},
		may:  []string{"Rule09Receive/batch_from_peer"},
		wrap: func(m *making) layer.Layer {
			good := m.good()
			return &hooked{Layer: good, batch: func(ctx context.Context, channel string, buf []layer.Message) (int, error) {
				n, err := layer.ReceiveBatch(ctx, good, channel, buf)
				slices.Reverse(buf[:n])
				return n, err
			}}
		}},
	{name: "ReceiveBatch takes all and gives one",
		must: []string{"Rule02FIFO/receive_batch*"},
		may:  []string{"Rule09Receive/batch*", "Rule12NothingSilent/stats"},
		wrap: func(m *making) layer.Layer {
			good := m.good()
			return &hooked{Layer: good, batch: func(ctx context.Context, channel string, buf []layer.Message) (int, error) {
				n, err := layer.ReceiveBatch(ctx, good, channel, buf)
				return min(n, 1), err
			}}
		}},
	{name: "ReceiveBatch waits until the buffer is full",
		must: []string{"Rule09Receive/batch"},
		may:  []string{"Rule02FIFO/receive_batch*", "Rule09Receive/batch_from_peer", "Rule09Receive/batch_cancelled", "Rule12NothingSilent/stats"},
		wrap: func(m *making) layer.Layer {
			good := m.good()
			return &hooked{Layer: good, batch: func(ctx context.Context, channel string, buf []layer.Message) (n int, err error) {
				for n < len(buf) && err == nil {
					var more int
					more, err = layer.ReceiveBatch(ctx, good, channel, buf[n:])
					n += more
				}
				return n, err
			}}
		}},
	{name: "ReceiveBatch without a buffer waits for a message",
		must: []string{"Rule09Receive/batch"},
		may:  []string{"Rule09Receive/batch_from_peer"},
		wrap: func(m *making) layer.Layer {
			good := m.good()
			return &hooked{Layer: good, batch: func(ctx context.Context, channel string, buf []layer.Message) (int, error) {
				if len(buf) == 0 {
					return 0, m.hang(ctx)
				}
				return layer.ReceiveBatch(ctx, good, channel, buf)
			}}
		}},
}

// takeNow takes a message that waits already.
func takeNow(ctx context.Context, good layer.Layer, channel string) (layer.Message, bool) {
	short, cancel := context.WithTimeout(context.WithoutCancel(ctx), 1)
	defer cancel()
	msg, err := good.Receive(short, channel)
	return msg, err == nil
}

// waiter is one receiver of the layer that serves the last one first.
type waiter struct {
	turn chan struct{} // holds one token when it may receive

	mu     sync.Mutex
	cancel context.CancelFunc // of the Receive that it is in
}

func (w *waiter) give() {
	select {
	case w.turn <- struct{}{}:
	default:
	}
}

func (w *waiter) during(cancel context.CancelFunc) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cancel = cancel
}

func (w *waiter) interrupt() {
	w.mu.Lock()
	defer w.mu.Unlock()
	select {
	case <-w.turn:
	default:
	}
	if w.cancel != nil {
		w.cancel()
	}
}
