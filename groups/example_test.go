package groups_test

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/channellayer/channellayer/groups"
)

func Example() {
	g, err := groups.New(groups.Options{Expiry: time.Hour})
	if err != nil {
		fmt.Println(err)
		return
	}
	g.Add("room.1", "specific.p1!ann")
	g.Add("room.1", "specific.p1!bob")
	g.Add("room.2", "specific.p1!bob")

	for channel := range g.Members("room.1") {
		fmt.Println("send to", channel)
	}
	fmt.Println("bob's groups:", len(g.GroupsOf("specific.p1!bob")))
	fmt.Println("emptied when bob left:", g.DiscardChannel("specific.p1!bob"))

	// Output:
	// send to specific.p1!ann
	// send to specific.p1!bob
	// bob's groups: 2
	// emptied when bob left: [room.2]
}

// Members may be discarded while they are walked over.
func ExampleGroups_Members() {
	g, _ := groups.New(groups.Options{})
	g.Add("room", "open")
	g.Add("room", "gone")

	send := func(channel string) bool { return channel != "gone" }
	for channel := range g.Members("room") {
		if !send(channel) {
			g.Discard("room", channel)
		}
	}
	fmt.Println(slices.Collect(g.Members("room")))

	// Output:
	// [open]
}

// registry keeps a broker informed of the groups that this process has members
// in. It has one lock for all groups; a backend would have many.
type registry struct {
	groups *groups.Groups
	mu     sync.Mutex
	tell   func(format string, args ...any)
}

// add returns when the group is registered, also if another call does it.
func (r *registry) add(group, channel string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.groups.Add(group, channel) {
		r.tell("register %s\n", group)
	}
}

func (r *registry) discard(group, channel string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.groups.Discard(group, channel) {
		r.tell("unregister %s\n", group)
	}
}

// emptied takes what DiscardChannel and Sweep return.
func (r *registry) emptied(groups []string) {
	for _, group := range groups {
		r.mu.Lock()
		if r.groups.Len(group) == 0 { // or somebody has joined it since
			r.tell("unregister %s\n", group)
		}
		r.mu.Unlock()
	}
}

// A backend that registers its groups elsewhere keeps a lock of its own over
// the change and what it tells others.
func Example_backend() {
	g, _ := groups.New(groups.Options{})
	r := &registry{groups: g, tell: func(format string, args ...any) { fmt.Printf(format, args...) }}
	r.add("room", "ann")
	r.add("room", "bob")
	r.discard("room", "ann")
	r.emptied(g.DiscardChannel("bob"))

	// Output:
	// register room
	// unregister room
}
