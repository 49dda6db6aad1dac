// Package chatserver is a chat server on a channel layer: rooms by URL, and who
// is in them. It takes any [layer.Layer], so the same server runs in one
// process on memlayer, or in many on a layer with a broker.
//
// It shows how to hold many WebSockets well. Sockets die: networks change,
// laptops sleep, servers are replaced. So the server closes them liberally (of
// age, when it is drained, when their client cannot keep up), its page
// reconnects as a matter of course, and a kept connection is a bonus.
//
//   - A socket is a channel of its own, a goroutine that reads and a goroutine
//     that writes. What waits for a client is what waits in its channel, so the
//     layer's capacity bounds it, and a slow client costs only its own messages.
//   - A message to a room is one GroupSend. It becomes JSON once in a process,
//     whatever the number of sockets ([layer.Message].Encoded).
//   - Whatever a client is told goes through its channel, also errors: one
//     order, one bound, one writer.
//   - What a broker may have lost is told to whom it may concern: [GapMessage].
//   - Who is in a room is nobody's table. Those who join say so, and ask; those
//     who are there answer to the channel of whoever asked.
package chatserver
