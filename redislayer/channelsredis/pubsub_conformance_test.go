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

func TestPubSubConformance(t *testing.T) { testPubSubConformance(t, 1, pubsubExceptions) }

func TestPubSubConformanceTwoHosts(t *testing.T) {
	notUnderRace(t)
	testPubSubConformance(t, 2, append(pubsubTwoHostExceptions, pubsubExceptions...))
}

func testPubSubConformance(t *testing.T, hosts int, declared []layertest.Exception) {
	parallel, err := strconv.Atoi(flag.Lookup("test.parallel").Value.String())
	require.NoError(t, err)
	// A bus has servers of its own: the names of normal channels have no prefix
	// on the wire, so two buses on one server share them. A check has three
	// buses at most.
	servers := make(chan []string, 3*parallel)
	for range cap(servers) {
		var urls []string
		for range hosts {
			urls = append(urls, redistest.Start(t, redistest.Config{}).URL())
		}
		servers <- urls
	}
	backend := pubsubBackend(servers)
	backend.Declared = declared
	layertest.Run(t, backend)
}

// pubsubBackend makes buses on the servers, each used by one bus at a time.
func pubsubBackend(servers chan []string) layertest.Backend {
	var on sync.Map
	open := func(tb testing.TB, c layertest.Config, urls []string) layer.Layer {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		l, err := channelsredis.OpenPubSub(ctx, urls, channelsredis.Options{
			Observer: c.Observer, AllowUntyped: true,
			Expiry: c.Limits.Expiry, GroupExpiry: c.Limits.GroupExpiry, Capacity: c.Limits.Capacity,
			ChannelCapacity: c.Limits.CapacityRules, MaxMessageSize: c.Limits.MaxMessageSize,
		})
		require.NoError(tb, err)
		on.Store(l, urls)
		return l
	}
	return layertest.Backend{
		New: func(tb testing.TB, c layertest.Config) layer.Layer {
			urls := <-servers
			tb.Cleanup(func() { servers <- urls })
			return open(tb, c, urls)
		},
		Peer: func(tb testing.TB, c layertest.Config, first layer.Layer) layer.Layer {
			urls, _ := on.Load(first)
			return open(tb, c, urls.([]string))
		},
	}
}

// pubsubExceptions are the rows of EXCEPTIONS.md.
var pubsubExceptions = []layertest.Exception{
	{Check: "Rule01AtMostOnce/receivers_in_two_processes", Reason: "PUBLISH reaches every process that has subscribed, so each process that receives on a normal channel gets each message"},
	{Check: "Rule01AtMostOnce/group_member_added_twice_from_peer", Reason: "a process subscribes to a group for its own channels, and nothing on the wire asks another to: GroupAdd of another's channel is ErrForeignChannel"},
	{Check: "Rule07Groups/added_by_peer", Reason: "as above: GroupAdd of another process's channel is ErrForeignChannel"},
	{Check: "Rule07Groups/outlives_adder", Reason: "as above: GroupAdd of another process's channel is ErrForeignChannel"},
	{Check: "Rule05Capacity/exact_normal_channel_from_peer", Reason: "Redis holds nothing and counts nothing: a mailbox that is full in another process drops the message there, and counts it"},
	{Check: "Optional/flush_from_peer", Reason: "nothing on the wire says flush: each process flushes what it has, as with channels_redis"},
}

// pubsubTwoHostExceptions come on top with several hosts. Within a process a
// GroupSend has arrived when it returns; between processes nothing says when,
// and many checks count on it. With one host they run.
var pubsubTwoHostExceptions = exceptFor(
	"a channel and each group are published on the host of their own name, as Python has it: what another process sends by way of two hosts is not in order",
	"Rule02FIFO/send_and_group_send_mixed_from_peer", "Rule02FIFO/several_groups_from_peer", "Rule02FIFO/sizes_mixed_from_peer",
	"Rule02FIFO/normal_channel_one_reader_from_peer", "Rule03Isolation/*_from_peer", "Rule05Capacity/slow_channel_delays_no_other_from_peer",
	"Rule06Expiry/*_from_peer", "Rule07Groups/*_from_peer", "Rule10Failure/*_from_peer", "Rule12NothingSilent/no_gap_without_cause_from_peer", "Load/everything_counted_from_peer",
)

func exceptFor(reason string, checks ...string) (all []layertest.Exception) {
	for _, check := range checks {
		all = append(all, layertest.Exception{Check: check, Reason: reason})
	}
	return all
}
