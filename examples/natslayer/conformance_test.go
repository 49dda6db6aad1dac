package natslayer_test

import (
	"testing"

	"github.com/channellayer/channellayer/layer/layertest"
)

// mixed is the one thing that the layer cannot do. README.md says more.
const mixed = "NATS orders what one connection publishes, and nothing across connections: what is sent to a normal channel comes from its sender, " +
	"what a group sends to it from the process that added it, so a reader elsewhere sees each of the two in order, but not both together"

var declared = []layertest.Exception{
	{Check: "Rule02FIFO/normal_channel_one_reader_from_peer", Reason: mixed},
	{Check: "Rule05Capacity/slow_channel_delays_no_other_from_peer", Reason: mixed},
	{Check: "Rule06Expiry/delivered_before_from_peer", Reason: mixed},
	{Check: "Rule06Expiry/normal_channel_not_abandoned_from_peer", Reason: mixed},
}

func TestConformance(t *testing.T) { layertest.Run(t, backend(start(t).ClientURL())) }
