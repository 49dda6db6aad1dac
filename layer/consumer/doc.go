// Package consumer is what an application holds of a channel layer: a
// [Consumer] is one channel, its groups and handlers by message type, and a
// [Worker] serves normal channels.
package consumer
