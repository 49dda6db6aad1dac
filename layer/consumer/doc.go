// Package consumer is what an application holds of a channel layer. A
// [Consumer] is one channel of its own, the groups it has joined, and handlers
// by message type: one for each WebSocket, session or game. A [Worker] serves
// normal channels, to which any process may send work.
//
// # A connection
//
// Whoever holds a connection opens a consumer, joins groups, and writes what
// arrives. ReceiveBatch takes all that waits, so that a burst costs one flush;
// [layer.Message].Encoded makes a frame once for all the connections of a
// process:
//
//	func serve(ctx context.Context, bus layer.Layer, conn *Conn, room string) error {
//		c, err := consumer.Open(ctx, bus, consumer.Options{})
//		if err != nil {
//			return err
//		}
//		defer c.Close()
//		if err := c.Join(ctx, layer.GroupName(room)); err != nil {
//			return err
//		}
//		buf := make([]layer.Message, 64)
//		for {
//			n, err := c.ReceiveBatch(ctx, buf)
//			if err != nil {
//				return err
//			}
//			for _, msg := range buf[:n] {
//				frame, err := msg.Encoded(frameKey{}, func() ([]byte, error) { return encode(msg) })
//				if err != nil {
//					return err
//				}
//				conn.Write(frame)
//			}
//			clear(buf[:n]) // hold no message longer than need be
//			if err := conn.Flush(); err != nil {
//				return err
//			}
//		}
//	}
//
// What the client sends is read by another goroutine, which calls GroupSend,
// Join and Leave as it sees fit. Where each type of message wants its own
// code, set Options.Handlers and call Run instead of the loop.
//
// # Order
//
// Run handles one message at a time, in the order of arrival: a slow handler
// lets messages wait in the channel, up to its capacity. A worker does the
// same for each of its channels while Concurrency is 1; with more, messages
// begin in order and end in any.
//
// # Errors
//
// Delivery is at most once, so a message whose handler fails is not seen
// again. A handler's error or panic ends nothing: it is reported to OnError
// and counted in Stats, as messages without a handler are to OnUnknown. The
// counts are kept whether or not anybody is told.
//
// A layer recovers from an outage by itself; meanwhile Receive usually just
// waits. If it returns an error, Run reports that and tries again after a
// pause, unless trying cannot help: [layer.ErrClosed], [layer.ErrChannelGone],
// [layer.ErrForeignChannel] and [layer.ErrInvalidName] end it. Run returns nil
// when its ctx ends.
//
// A membership lasts for [layer.Limits].GroupExpiry. A consumer renews its own
// every Options.Renew, and tries again within a twelfth of that if a renewal
// failed, which OnError is told too.
//
// # Closing
//
// Close ends memberships and channel, and wakes whoever receives. It waits for
// calls to the layer, not for handlers: they may call every method, Close
// included, and their ctx is the one given to Run, which goes on. Afterwards
// every method returns [layer.ErrClosed], but for Close, Channel, Groups and
// Stats. A consumer that is not closed keeps its channel, and its timer if it
// is in a group, until the layer closes.
//
// # Workers
//
// A worker takes messages only while it has a free handler, so that those of
// other processes get the rest. It receives on all its channels at once; when
// the last free handler is taken, what others took in the same moment waits in
// line for the next, and after 0.1 seconds without a free handler the channels
// are left to others. A channel that is always full does not starve one that
// seldom has a message.
//
// When ctx ends, a worker takes no more messages and handles those it has.
// Handlers under way have StopTimeout to finish before their ctx ends; Run
// returns when the last is done.
//
// # Cost
//
// A Consumer has no goroutine, and a timer only while it is in a group: about
// a kilobyte and a half, once it has joined a group and been read from. Receive
// and Run allocate nothing and take hardly longer than the layer's Receive as
// long as a reader passes the same ctx each time; a new ctx for each call is
// bound anew, at about a microsecond. A Worker runs a goroutine for each
// channel and each handler while Run does.
package consumer
