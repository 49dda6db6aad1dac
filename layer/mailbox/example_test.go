package mailbox_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/layer/mailbox"
)

// A backend opens a mailbox for each channel that it makes, puts into it what
// arrives for this process, and receives from it for the application.
func Example() {
	boxes, err := mailbox.New(mailbox.Options{Limits: layer.Limits{Capacity: 2}})
	if err != nil {
		panic(err)
	}
	defer boxes.Close()

	const channel = "specific.f3a9!x7"
	if err := boxes.Open(channel); err != nil {
		panic(err)
	}
	for _, text := range []string{"one", "two", "three"} {
		err := boxes.Put(channel, layer.NewMessage(map[string]any{"type": "chat.message", "text": text}))
		if errors.Is(err, layer.ErrChannelFull) {
			fmt.Println("no room for", text)
		}
	}
	for range 2 {
		msg, err := boxes.Receive(context.Background(), channel)
		if err != nil {
			panic(err)
		}
		fmt.Println(msg.String("text"))
	}
	boxes.Release(channel)
	_, err = boxes.Receive(context.Background(), channel)
	fmt.Println(err)
	// Output:
	// no room for three
	// one
	// two
	// layer: no such channel
}

// A writer takes in one go all that waits.
func ExampleSet_ReceiveBatch() {
	boxes, err := mailbox.New(mailbox.Options{})
	if err != nil {
		panic(err)
	}
	defer boxes.Close()
	for n := range 5 {
		if err := boxes.Put("jobs", layer.NewMessage(map[string]any{"n": n})); err != nil {
			panic(err)
		}
	}
	buf := make([]layer.Message, 64)
	n, err := boxes.ReceiveBatch(context.Background(), "jobs", buf)
	if err != nil {
		panic(err)
	}
	for _, msg := range buf[:n] {
		fmt.Print(msg.Int("n"), " ")
	}
	fmt.Println()
	// Output: 0 1 2 3 4
}

// An observer learns what was not delivered.
func ExampleOptions() {
	boxes, err := mailbox.New(mailbox.Options{
		Observer: layer.Observer{
			Dropped: func(reason layer.DropReason, channel string, count int) {
				fmt.Println(count, "dropped from", channel, "because:", reason)
			},
		},
	})
	if err != nil {
		panic(err)
	}
	if err := boxes.Put("jobs", layer.NewMessage(map[string]any{"n": 1})); err != nil {
		panic(err)
	}
	boxes.Close()
	// Output: 1 dropped from jobs because: closed
}

// After an outage, a backend tells every channel that something may have been
// lost. A client for which a second notice comes before it has read the first
// looks at the state of things once.
func ExampleSet_Notify() {
	boxes, err := mailbox.New(mailbox.Options{})
	if err != nil {
		panic(err)
	}
	defer boxes.Close()
	if err := boxes.Open("specific.f3a9!x7"); err != nil {
		panic(err)
	}
	notice := layer.NewMessage(map[string]any{"type": "resync"})
	for range 2 {
		for channel := range boxes.Channels() {
			boxes.Notify(channel, notice)
		}
	}
	fmt.Println(boxes.Len("specific.f3a9!x7"))
	// Output:
	// 1
}
