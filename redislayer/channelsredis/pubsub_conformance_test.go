package channelsredis_test

import (
	"context"
	"flag"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/channellayer/channellayer/internal/redistest"
	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/layer/layertest"
	"github.com/channellayer/channellayer/redislayer/channelsredis"
)

func TestPubSubConformance(t *testing.T) {
	parallel, err := strconv.Atoi(flag.Lookup("test.parallel").Value.String())
	require.NoError(t, err)
	// A bus has a server of its own: the names of normal channels have no prefix
	// on the wire, so two buses on one server share them. A check has three
	// buses at most.
	servers := make(chan *redistest.Server, 3*parallel)
	for range cap(servers) {
		servers <- redistest.Start(t, redistest.Config{})
	}
	backend := pubsubBackend(servers)
	layertest.Run(t, backend)
}

func pubsubBackend(servers chan *redistest.Server) layertest.Backend {
	var on sync.Map
	open := func(tb testing.TB, c layertest.Config, server *redistest.Server) layer.Layer {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		l, err := channelsredis.OpenPubSub(ctx, []string{server.URL()}, channelsredis.Options{
			Observer: c.Observer, AllowUntyped: true,
			Expiry: c.Limits.Expiry, GroupExpiry: c.Limits.GroupExpiry, Capacity: c.Limits.Capacity,
			ChannelCapacity: c.Limits.CapacityRules, MaxMessageSize: c.Limits.MaxMessageSize,
		})
		require.NoError(tb, err)
		on.Store(l, server)
		return l
	}
	return layertest.Backend{
		New: func(tb testing.TB, c layertest.Config) layer.Layer {
			server := <-servers
			tb.Cleanup(func() { servers <- server })
			return open(tb, c, server)
		},
		Peer: func(tb testing.TB, c layertest.Config, first layer.Layer) layer.Layer {
			server, _ := on.Load(first)
			return open(tb, c, server.(*redistest.Server))
		},
		Declared: pubsubExceptions,
	}
}

// pubsubExceptions are the rows of EXCEPTIONS.md.
var pubsubExceptions = []layertest.Exception{
	{Check: "Rule01AtMostOnce/receivers_in_two_processes", Reason: "PUBLISH reaches every process that has subscribed, so each process that receives on a normal channel gets each message"},
	{Check: "Rule01AtMostOnce/group_member_added_twice_from_peer", Reason: "a process subscribes to a group for its own channels, and nothing on the wire asks another to: GroupAdd of another's channel is ErrForeignChannel"},
	{Check: "Rule07Groups/added_by_peer", Reason: "as above: GroupAdd of another process's channel is ErrForeignChannel"},
	{Check: "Rule07Groups/outlives_adder", Reason: "as above: GroupAdd of another process's channel is ErrForeignChannel"},
	{Check: "Rule05Capacity/exact_normal_channel_from_peer", Reason: "Redis holds nothing and counts nothing: a mailbox that is full in another process drops the message there, and counts it"},
	{Check: "Rule06Expiry/delivered_before_from_peer", Reason: "what is sent to a normal channel before anybody receives on it waits with its sender, and may come after what is sent to a group later"},
	{Check: "Optional/flush_from_peer", Reason: "nothing on the wire says flush: each process flushes what it has, as with channels_redis"},
}
