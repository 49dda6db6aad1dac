package memlayer_test

import (
	"context"
	"fmt"
	"log"

	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/memlayer"
)

// Two members of a group, and a message to it.
func Example() {
	ctx := context.Background()
	bus, err := memlayer.New(memlayer.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer bus.Close()

	ada, _ := bus.NewChannel(ctx, "")
	ben, _ := bus.NewChannel(ctx, "")
	bus.GroupAdd(ctx, "room.42", ada)
	bus.GroupAdd(ctx, "room.42", ben)

	msg := layer.NewMessage(map[string]any{"type": "chat.message", "text": "hello"})
	if err := bus.GroupSend(ctx, "room.42", msg); err != nil {
		log.Fatal(err)
	}

	for _, channel := range []string{ada, ben} {
		got, err := bus.Receive(ctx, channel)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(got.Type(), got.String("text"))
	}
	// Output:
	// chat.message hello
	// chat.message hello
}
