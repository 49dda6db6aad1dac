package channelsredis_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/layer/consumer"
	"github.com/channellayer/channellayer/redislayer/channelsredis"
)

// The site's settings, and a message to everybody in one of its groups: each
// consumer that called group_add("chat_lobby", self.channel_name) gets it in its
// method chat_message.
func ExampleOpenCore() {
	// CHANNEL_LAYERS = {"default": {
	//     "BACKEND": "channels_redis.core.RedisChannelLayer",
	//     "CONFIG": {
	//         "hosts": ["redis://:secret@127.0.0.1:6379/1"],
	//         "expiry": 30,
	//         "channel_capacity": {"http.*": 200},
	//         "symmetric_encryption_keys": [SECRET_KEY],
	//     },
	// }}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second) // for the start; without an end it waits for Redis
	defer cancel()
	bus, err := channelsredis.OpenCore(ctx, []string{"redis://:secret@127.0.0.1:6379/1"}, channelsredis.Options{
		Expiry:                  30 * time.Second,
		ChannelCapacity:         []layer.CapacityRule{{Pattern: "http.*", Capacity: 200}},
		SymmetricEncryptionKeys: []string{"the site's SECRET_KEY"},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer bus.Close()

	msg := layer.NewMessage(map[string]any{"type": "chat.message", "message": "hello from Go"})
	if err := bus.GroupSend(context.Background(), "chat_lobby", msg); err != nil {
		log.Print(err)
	}
}

// A worker in Go, to which Django sends jobs, and which answers the consumer that
// sent one, in its method thumbnail_done:
//
//	await self.channel_layer.send("thumbnails", {
//	    "type": "thumbnail.make", "path": path, "reply_to": self.channel_name,
//	})
//
// The other way round, Go sends to a channel that Django serves by
// "manage.py runworker".
func Example_worker() {
	ctx := context.Background()
	bus, err := channelsredis.OpenCore(ctx, []string{"redis://127.0.0.1:6379"}, channelsredis.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer bus.Close()

	worker, err := consumer.NewWorker(bus, consumer.WorkerOptions{
		Channels: []string{"thumbnails"},
		Handlers: map[string]consumer.Handler{
			"thumbnail.make": func(ctx context.Context, job layer.Message) error {
				fmt.Println("making a thumbnail of", job.String("path"))
				done := layer.NewMessage(map[string]any{"type": "thumbnail.done", "path": job.String("path")})
				return bus.Send(ctx, job.String("reply_to"), done)
			},
		},
		OnError: func(_ layer.Message, err error) { log.Print(err) },
	})
	if err != nil {
		log.Fatal(err)
	}
	log.Print(worker.Run(ctx))
}
