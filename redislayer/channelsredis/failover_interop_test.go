package channelsredis_test

import (
	"context"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/channellayer/channellayer/internal/pypeer"
	"github.com/channellayer/channellayer/internal/redistest"
	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/redislayer/channelsredis"
)

// Both languages find one server by Sentinel, and meet again at the other after
// a failover.
func TestInteropFailover(t *testing.T) {
	t.Parallel()
	pypeer.Need(t)
	for _, name := range []string{"Core", "PubSub"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sentinel := redistest.StartSentinel(t, redistest.SentinelConfig{})
			ctx := t.Context()
			python := pypeer.Start(t)
			config := pypeer.Options{Sentinels: sentinel.SentinelAddrs(), MasterName: sentinel.MasterName()}
			o := channelsredis.Options{Hosts: []redis.UniversalClient{sentinel.Client(t)}}
			var ours layer.Layer
			var theirs *pypeer.Layer
			var err error
			if name == "Core" {
				theirs = python.Core(config)
				ours, err = channelsredis.NewCore(o)
			} else {
				theirs = python.PubSub(config)
				ours, err = channelsredis.NewPubSub(o)
			}
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, ours.Close()) })
			soon(t, "the layer to connect", func() bool { return layer.Ping(ctx, ours) == nil })
			own, other := newOwn(t, ours), theirs.NewChannel()
			require.NoError(t, ours.GroupAdd(ctx, "room", own))
			theirs.GroupAdd("room", other)

			// Core's receive raises when it comes upon a connection that was lost,
			// perhaps with a message, and is called again, for one that is sent later;
			// PubSub's gives up its channel if it is cancelled.
			heard := func() bool {
				_, err := theirs.TryReceive(other, patience/10)
				return err == nil
			}
			if name == "PubSub" {
				worker, before := theirs.StartWorker(other), 0
				heard = func() bool {
					received := worker.Received()
					defer func() { before = received }()
					return received > before
				}
			}
			both := func(when string) {
				t.Helper()
				soon(t, "Go to reach both "+when, func() bool {
					return ours.GroupSend(ctx, "room", note(1)) == nil && comes(ctx, ours, own) && heard()
				})
				soon(t, "Python to reach both "+when, func() bool {
					return theirs.TryGroupSend("room", fromPython(2)) == nil && comes(ctx, ours, own) && heard()
				})
			}
			both("before")
			if name == "Core" { // what the replica lacks, Python does not write again
				replica := sentinel.Replica().Client(t)
				soon(t, "the replica to have both memberships", func() bool { return replica.ZCard(ctx, "asgi:group:room").Val() == 2 })
			}
			sentinel.KillMaster()
			_, err = sentinel.WaitPromoted(ctx)
			require.NoError(t, err)
			soon(t, "the layer to work", func() bool { return layer.Ping(ctx, ours) == nil })
			both("after")
			for _, direction := range []string{goToPython, pythonToGo} {
				record(t, name, "after a failover by Sentinel", direction, plain)
			}
		})
	}
}

// comes takes a message, if one comes soon.
func comes(ctx context.Context, l layer.Layer, channel string) bool {
	limited, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
	defer cancel()
	_, err := l.Receive(limited, channel)
	return err == nil
}
