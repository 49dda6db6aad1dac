package channelsredis

import (
	"context"
	"net"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/channellayer/channellayer/layer"
)

// delivering is a PubSub without a server, with two members of a group, and a
// delivery to it.
func delivering(t *testing.T, options Options) (l *PubSub, d *delivery, members []string) {
	client := redis.NewClient(&redis.Options{Dialer: func(context.Context, string, string) (net.Conn, error) {
		return nil, net.ErrClosed
	}})
	t.Cleanup(func() { client.Close() })
	options.Hosts = []redis.UniversalClient{client}
	l, err := NewPubSub(options)
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	for _, local := range []string{"a", "b"} {
		channel := l.patternFor("x", local)
		require.NoError(t, l.process.Mailboxes().Open(channel))
		l.process.Groups().AddWith("room", channel, l.process.Mailboxes().Ref(channel))
		members = append(members, channel)
	}
	return l, newDelivery(l), members
}

func TestDeliveryKeepsTheOrder(t *testing.T) {
	l, d, members := delivering(t, Options{})
	add := func(topic string, own bool, n int) {
		body, err := l.encode(layer.NewMessage(map[string]any{"n": n}))
		require.NoError(t, err)
		d.add([]byte(topic), own, body, 0)
	}
	add(l.groupTopic("room"), false, 1)
	add(l.groupTopic("room"), false, 2)
	require.Zero(t, l.process.Mailboxes().Len(members[0]), "more may come that goes with these")
	add(members[0], true, 3)
	require.Equal(t, 2, l.process.Mailboxes().Len(members[0]), "what came before a message to another")
	add(l.groupTopic("nobody"), false, 4)
	add("normal", false, 5)
	d.deliver()
	d.deliver()
	for n := range maxTogether {
		add(members[1], true, 6+n)
	}
	require.Equal(t, 2+maxTogether, l.process.Mailboxes().Len(members[1]), "so many together are enough")
	for channel, want := range map[string][]int64{members[0]: {1, 2, 3}, members[1]: {1, 2, 6, 7, 8}, "normal": {5}} {
		for _, n := range want {
			msg, err := l.process.Mailboxes().Receive(t.Context(), channel)
			require.NoError(t, err)
			require.Equal(t, n, msg.Int("n"), "on %s, of which the first should be %v", channel, want)
		}
	}
}

// What finds no room, or no channel any more, is counted: each message on its own.
func TestDeliveryCountsWhatIsRefused(t *testing.T) {
	l, d, members := delivering(t, Options{Capacity: 8})
	d.most = maxTogether
	body, err := l.encode(layer.NewMessage(nil))
	require.NoError(t, err)
	l.process.Mailboxes().Release(members[1])
	for range 10 {
		d.add([]byte(l.groupTopic("room")), false, body, 0)
	}
	d.add([]byte(l.groupTopic("room")), false, []byte("\xc1"), 0)
	d.add([]byte(l.groupTopic("room")), false, nil, 1<<30)
	d.deliver()
	require.Equal(t, 8, l.process.Mailboxes().Len(members[0]))
	want := layer.Drops{layer.DropFull: 2, layer.DropClosed: 10, layer.DropUndecodable: 1, layer.DropOversized: 1}
	require.Equal(t, want, l.Stats().Dropped)
}

// Messages that come together take no more than a quarter of a mailbox.
func TestDeliveryLeavesRoom(t *testing.T) {
	for name, test := range map[string]struct {
		options Options
		want    int
	}{
		"by default": {Options{}, maxTogether},
		"small ones": {Options{Capacity: 20}, 5},
		"tiny ones":  {Options{Capacity: 1}, 1},
		"some small": {Options{ChannelCapacity: []layer.CapacityRule{{Pattern: "a*", Capacity: 8}, {Pattern: "b*", Capacity: 800}}}, 2},
	} {
		t.Run(name, func(t *testing.T) {
			_, d, _ := delivering(t, test.options)
			require.Equal(t, test.want, d.most)
		})
	}
}
