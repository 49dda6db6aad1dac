package channelsredis_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/channellayer/channellayer/internal/redistest"
	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/layer/layertest"
	"github.com/channellayer/channellayer/redislayer/channelsredis"
)

func TestCoreConformance(t *testing.T) {
	server := redistest.Start(t, redistest.Config{})
	layertest.Run(t, coreBackend(server.URL()))
}

func TestCoreConformanceTwoHosts(t *testing.T) {
	notUnderRace(t)
	a, b := redistest.Start(t, redistest.Config{}), redistest.Start(t, redistest.Config{})
	backend := coreBackend(a.URL(), b.URL())
	backend.Declared = append(coreExceptions[:len(coreExceptions):len(coreExceptions)], twoHostExceptions()...)
	layertest.Run(t, backend)
}

// notUnderRace leaves a suite to runs without the race detector, with
// which it takes minutes. One host has it on.
func notUnderRace(t *testing.T) {
	t.Helper()
	if underRace {
		t.Skip("not under the race detector, with which it takes minutes: go test ./redislayer/channelsredis runs it")
	}
}

// coreExceptions are in the package's documentation, too.
var coreExceptions = []layertest.Exception{
	{Check: "Rule11Close/peers_go_on", Reason: "a queue at Redis does not tell whether its process is still there, so a send to a channel of a process that ended is accepted until the queue is full"},
	{Check: "Optional/flush_from_peer", Reason: "the wire has no way to tell other processes to drop what they have in memory"},
}

// twoHostExceptions are those besides, with several hosts. What they are to show
// beside the order and capacity of normal channels is in TestCoreTwoHosts.
func twoHostExceptions() (list []layertest.Exception) {
	const queues = "with several hosts a normal channel is a queue on each, filled in turn: "
	for _, declared := range []struct {
		reason string
		checks []string
	}{
		{queues + "it is in order on each, and the check expects order between them", []string{
			"Rule01AtMostOnce/no_repeat_after_receive*", "Rule02FIFO/cancelled_receives_between*", "Rule02FIFO/several_writers*", "Rule02FIFO/normal_channel_one_reader*",
			"Rule02FIFO/receive_batch*", "Rule05Capacity/slow_channel_delays_no_other*", "Rule06Expiry/delivered_before*", "Rule06Expiry/each_at_its_own_time*",
			"Rule09Receive/batch*", "Rule09Receive/messages*", "Rule09Receive/ended_ctx_first",
		}},
		{queues + "it holds Capacity on each, and the check fills it with Capacity", []string{
			"Rule02FIFO/after_full*", "Rule05Capacity/exact_normal_channel*", "Rule05Capacity/first_rule_counts", "Rule05Capacity/expired_messages_make_room*",
			"Rule05Capacity/concurrent_senders", "Rule05Capacity/concurrent_senders_from_peer", "Rule10Failure/outcome_of_errors",
		}},
		{queues + "the model has one queue, with its order and capacity", []string{"Model/random_operations"}},
	} {
		for _, check := range declared.checks {
			list = append(list, layertest.Exception{Check: check, Reason: declared.reason})
		}
	}
	return list
}

// coreBackend makes layers on the servers; each bus has a prefix of its own.
func coreBackend(urls ...string) layertest.Backend {
	var buses atomic.Int64
	var prefixes sync.Map
	open := func(tb testing.TB, c layertest.Config, prefix string) layer.Layer {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		l, err := channelsredis.OpenCore(ctx, urls, channelsredis.Options{
			Prefix: prefix, Observer: c.Observer, AllowUntyped: true,
			Capacity: c.Limits.Capacity, ChannelCapacity: c.Limits.CapacityRules,
			Expiry: c.Limits.Expiry, GroupExpiry: c.Limits.GroupExpiry, MaxMessageSize: c.Limits.MaxMessageSize,
		})
		require.NoError(tb, err)
		prefixes.Store(layer.Layer(l), prefix)
		return l
	}
	return layertest.Backend{
		Declared: coreExceptions,
		Unit:     200 * time.Millisecond, // for a busy machine
		New: func(tb testing.TB, c layertest.Config) layer.Layer {
			return open(tb, c, fmt.Sprintf("bus%d.", buses.Add(1)))
		},
		Peer: func(tb testing.TB, c layertest.Config, first layer.Layer) layer.Layer {
			prefix, _ := prefixes.Load(first)
			return open(tb, c, prefix.(string))
		},
	}
}
