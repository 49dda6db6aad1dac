package consumer_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/layer/consumer"
	"github.com/channellayer/channellayer/memlayer"
)

// A member of a group, with a handler for each type of message.
func Example() {
	ctx := context.Background()
	bus, err := memlayer.New(memlayer.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer bus.Close()

	ctx, stop := context.WithCancel(ctx)
	defer stop()
	ada, err := consumer.Open(ctx, bus, consumer.Options{
		Handlers: map[string]consumer.Handler{
			"chat.message": func(ctx context.Context, msg layer.Message) error {
				fmt.Printf("%s: %s\n", msg.String("from"), msg.String("text"))
				return nil
			},
			"chat.end": func(ctx context.Context, msg layer.Message) error {
				stop()
				return nil
			},
		},
		OnUnknown: func(msg layer.Message) { fmt.Println("no handler for", msg.Type()) },
	})
	if err != nil {
		log.Fatal(err)
	}
	defer ada.Close()
	if err := ada.Join(ctx, "room.42"); err != nil {
		log.Fatal(err)
	}

	for _, fields := range []map[string]any{
		{"type": "chat.message", "from": "ben", "text": "hello"},
		{"type": "chat.typing", "from": "ben"},
		{"type": "chat.end"},
	} {
		if err := bus.GroupSend(ctx, "room.42", layer.NewMessage(fields)); err != nil {
			log.Fatal(err)
		}
	}
	if err := ada.Run(ctx); err != nil {
		log.Fatal(err)
	}
	// Output:
	// ben: hello
	// no handler for chat.typing
}

// All that waits is taken at once, as whoever writes to a socket wants it.
func ExampleConsumer_ReceiveBatch() {
	ctx := context.Background()
	bus, err := memlayer.New(memlayer.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer bus.Close()
	c, err := consumer.Open(ctx, bus, consumer.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	for _, text := range []string{"one", "two", "three"} {
		if err := bus.Send(ctx, c.Channel(), layer.NewMessage(map[string]any{"text": text})); err != nil {
			log.Fatal(err)
		}
	}
	buf := make([]layer.Message, 64)
	n, err := c.ReceiveBatch(ctx, buf)
	if err != nil {
		log.Fatal(err)
	}
	for _, msg := range buf[:n] {
		fmt.Println(msg.String("text"))
	}
	// Output:
	// one
	// two
	// three
}

// Close wakes whoever receives.
func ExampleConsumer_Close() {
	ctx := context.Background()
	bus, err := memlayer.New(memlayer.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer bus.Close()
	c, err := consumer.Open(ctx, bus, consumer.Options{})
	if err != nil {
		log.Fatal(err)
	}

	ended := make(chan error)
	go func() { ended <- c.Run(ctx) }()
	if err := c.Close(); err != nil {
		log.Fatal(err)
	}
	fmt.Println(errors.Is(<-ended, layer.ErrClosed))
	fmt.Println(errors.Is(bus.Send(ctx, c.Channel(), layer.Message{}), layer.ErrChannelGone))
	// Output:
	// true
	// true
}

// A worker with four handlers, which is stopped once the work is done. What a
// handler fails at is reported, and not delivered again.
func ExampleWorker() {
	ctx := context.Background()
	bus, err := memlayer.New(memlayer.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer bus.Close()

	sent := make(chan string)
	w, err := consumer.NewWorker(bus, consumer.WorkerOptions{
		Channels:    []string{"mail"},
		Concurrency: 4,
		StopTimeout: time.Second,
		Handlers: map[string]consumer.Handler{
			"mail.send": func(ctx context.Context, msg layer.Message) error {
				if msg.String("to") == "" {
					return errors.New("nobody to write to")
				}
				sent <- msg.String("to")
				return nil
			},
		},
		OnError: func(msg layer.Message, err error) { sent <- err.Error() },
	})
	if err != nil {
		log.Fatal(err)
	}
	ctx, stop := context.WithCancel(ctx)
	ended := make(chan error)
	go func() { ended <- w.Run(ctx) }()

	for _, to := range []string{"ada", "", "ben"} {
		msg := layer.NewMessage(map[string]any{"type": "mail.send", "to": to})
		if err := bus.Send(ctx, "mail", msg); err != nil {
			log.Fatal(err)
		}
	}
	for range 3 {
		fmt.Println(<-sent)
	}
	stop()
	fmt.Println(<-ended, w.Stats().Handled, w.Stats().Failed)
	// Unordered output:
	// ada
	// nobody to write to
	// ben
	// <nil> 2 1
}
