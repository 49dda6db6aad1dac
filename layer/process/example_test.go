package process_test

import (
	"context"
	"fmt"
	"log"

	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/layer/process"
)

// bus is two methods of a backend whose processes share a Go map where another
// has a broker.
type bus struct {
	process *process.Process
	others  map[string]*process.Process // by name
}

func (b *bus) Send(ctx context.Context, channel string, msg layer.Message) error {
	if err := b.process.CheckSend(ctx, msg, layer.ValidateChannel(channel)); err != nil {
		return err
	}
	if b.process.Owns(channel) {
		if err := b.process.Mailboxes().Put(channel, msg); err != nil {
			return err
		}
	} else if other := b.others[process.Of(channel)]; other != nil {
		other.Put(channel, msg, 0) // what does not fit there is counted there
	} else {
		return layer.ErrChannelGone
	}
	b.process.CountSend(channel)
	return nil
}

func (b *bus) GroupSend(ctx context.Context, group string, msg layer.Message) error {
	if err := b.process.CheckSend(ctx, msg, layer.ValidateGroup(group)); err != nil {
		return err
	}
	b.process.Deliver(group, msg, 0)
	for _, other := range b.others {
		other.Deliver(group, msg, 0)
	}
	b.process.CountGroupSend(group)
	return nil
}

// How a backend sends with the help of a Process.
func Example() {
	ctx := context.Background()
	here, err := process.New(process.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer here.Close()
	there, err := process.New(process.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer there.Close()
	b := &bus{process: here, others: map[string]*process.Process{there.Name(): there}}

	ada, _ := here.NewChannel(ctx, "")
	ben, _ := there.NewChannel(ctx, "")
	here.Join("room.42", ada)
	there.Join("room.42", ben)

	b.Send(ctx, ben, layer.NewMessage(map[string]any{"text": "to Ben"}))
	b.GroupSend(ctx, "room.42", layer.NewMessage(map[string]any{"text": "to all"}))
	for _, channel := range []struct {
		of   *process.Process
		name string
	}{{here, ada}, {there, ben}, {there, ben}} {
		msg, _ := channel.of.Receive(ctx, channel.name)
		fmt.Println(msg.String("text"))
	}
	_, err = here.Receive(ctx, ben)
	fmt.Println(err)
	fmt.Println(here.Stats().GroupSent, there.Stats().Received)
	// Output:
	// to all
	// to Ben
	// to all
	// layer: channel belongs to another process
	// 1 2
}
