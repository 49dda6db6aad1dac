package layer_test

import (
	"errors"
	"fmt"
	"time"

	"github.com/channellayer/channellayer/layer"
)

func ExampleNewMessage() {
	msg := layer.NewMessage(map[string]any{"type": "chat.message", "room": 7, "text": "hello", "tags": []string{"new", "short"}})
	fmt.Println(msg.Type(), msg.Int("room"), msg.String("text"))
	fmt.Println(msg.String("absent") == "", msg.Has("absent"))
	fmt.Println(msg)

	bad := layer.NewMessage(map[string]any{"user": map[string]any{"joined": time.Time{}}})
	fmt.Println(errors.Is(bad.Err(), layer.ErrInvalidMessage))
	fmt.Println(bad.Err())
	// Output:
	// chat.message 7 hello
	// true false
	// message{room: 7, tags: ["new", "short"], text: "hello", type: "chat.message"}
	// true
	// message "user.joined": layer: invalid message: time.Time
}

func ExampleMessage_Decode() {
	msg := layer.NewMessage(map[string]any{
		"type": "order.paid", "id": 42, "at": "2026-03-01T12:00:00Z", "customer": map[string]any{"name": "Kim", "age": 33},
	})
	var order struct {
		ID       uint64 `json:"id"`
		At       time.Time
		Customer struct{ Name string }
	}
	if err := msg.Decode(&order); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(order.ID, order.At.Year(), order.Customer.Name)

	var wrong struct{ Customer struct{ Name int } }
	fmt.Println(msg.Decode(&wrong))
	// Output:
	// 42 2026 Kim
	// decode "customer.name": layer: message does not fit the destination: string into int
}

func ExampleParseJSON() {
	msg, err := layer.ParseJSON([]byte(`{"type":"move","x":1,"y":2.0}`))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(msg.Int("x"), msg.Float("y"))

	_, err = layer.ParseJSON([]byte(`{"ids":[1,99999999999999999999]}`))
	fmt.Println(err)
	// Output:
	// 1 2
	// message "ids[1]": layer: invalid message: number "99999999999999999999" is not an int64
}

// JSON is computed once, however many sockets it goes to.
func ExampleMessage_JSON() {
	msg := layer.NewMessage(map[string]any{"type": "tick", "at": 1.0, "raw": []byte("hi")})
	frame, err := msg.JSON()
	fmt.Println(string(frame), err)
	// Output: {"at":1.0,"raw":"aGk=","type":"tick"} <nil>
}

func ExampleGroupName() {
	fmt.Println(layer.GroupName("room-7"))
	fmt.Println(layer.GroupName("kim@example.org"))
	// Output:
	// room-7
	// h.kim-example.org.G40klmZA7YvOO8OHQDh6wp7Df2ZYMPtDXinDHkTy9PA
}

func ExampleLimits() {
	limits, err := layer.Limits{
		Capacity: 50,
		CapacityRules: []layer.CapacityRule{
			{Pattern: "jobs.urgent", Capacity: 10_000},
			{Pattern: "jobs.*", Capacity: 1000},
		},
	}.WithDefaults()
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, channel := range []string{"jobs.urgent", "jobs.mail", "chat"} {
		fmt.Println(channel, limits.CapacityFor(channel))
	}
	fmt.Println(limits.Expiry)
	// Output:
	// jobs.urgent 10000
	// jobs.mail 1000
	// chat 50
	// 1m0s
}
