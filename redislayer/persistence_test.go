package redislayer_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/channellayer/channellayer/internal/faultproxy"
	"github.com/channellayer/channellayer/internal/redistest"
	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/redislayer"
)

// With appendonly yes, a server that was killed comes back with inboxes, queues
// and groups; nothing is lost, and a gap is reported all the same.
func TestAppendOnlyRestart(t *testing.T) {
	server := redistest.Start(t, redistest.Config{AOF: true})
	proxy := faultproxy.New(t, server.Addr())
	gaps := make(chan gap, 10)
	a := open(t, server.URL(), redislayer.Options{})
	b := open(t, "redis://"+proxy.Addr(), redislayer.Options{Observer: observeGaps(gaps)})
	ctx := t.Context()
	channel := newChannel(t, b)
	require.NoError(t, b.GroupAdd(ctx, "room", channel))
	require.NoError(t, a.GroupAdd(ctx, "room", "jobs"))
	require.NoError(t, a.Send(ctx, channel, text("first")))
	require.Equal(t, "first", receive(t, b, channel).String("text"))
	soon(t, "the reader is reading", func() bool { return proxy.Deafen(faultproxy.Containing("XREAD")) > 0 })
	const messages = 20
	for i := range messages { // wait in the inbox, and in the queue
		require.NoError(t, a.Send(ctx, channel, text(fmt.Sprint(i))))
		require.NoError(t, a.Send(ctx, "jobs", text(fmt.Sprint(i))))
	}
	server.Kill()
	server.Restart(t)
	for i := range messages {
		require.Equal(t, fmt.Sprint(i), receive(t, b, channel).String("text"), "what was in the inbox")
		require.Equal(t, fmt.Sprint(i), receive(t, a, "jobs").String("text"), "what was in the queue")
	}
	require.Equal(t, "redis was restarted or replaced", (<-gaps).reason)
	connected(t, a)
	require.NoError(t, a.GroupSend(ctx, "room", text("after it")))
	require.Equal(t, "after it", receive(t, b, channel).String("text"), "a member")
	require.Equal(t, "after it", receive(t, b, "jobs").String("text"), "a normal channel that is a member")
}

// What expired while the server was down is dropped, and counted, when it is
// back with its data.
func TestAppendOnlyRestartLate(t *testing.T) {
	const expiry = time.Second
	server := redistest.Start(t, redistest.Config{AOF: true})
	l := open(t, server.URL(), redislayer.Options{Limits: layer.Limits{Expiry: expiry}})
	ctx := t.Context()
	require.NoError(t, l.Send(ctx, "jobs", text("old")))
	sent := time.Now()
	server.Kill()
	time.Sleep(time.Until(sent.Add(expiry + expiry/4))) // how long it is down
	server.Restart(t)
	soon(t, "a message is sent", func() bool { return l.Send(ctx, "jobs", text("new")) == nil })
	require.Equal(t, "new", receive(t, l, "jobs").String("text"))
	soon(t, "the old one is counted", func() bool { return l.Stats().Dropped[layer.DropExpired] == 1 })
}

// Every key has a TTL, so that each of these policies evicts them all. It ends
// by itself: what was there is made anew, and a gap is reported.
func TestEvictionPolicies(t *testing.T) {
	for _, policy := range []string{"volatile-lru", "volatile-ttl", "allkeys-lru"} {
		t.Run(policy, func(t *testing.T) {
			server := redistest.Start(t, redistest.Config{MaxMemoryPolicy: policy})
			gaps := make(chan gap, 10)
			options := redislayer.Options{Timeout: time.Second, Lease: 4 * time.Second}
			a := open(t, server.URL(), options)
			options.Observer = observeGaps(gaps)
			b := open(t, server.URL(), options)
			ctx := t.Context()
			channel := newChannel(t, b)
			require.NoError(t, b.GroupAdd(ctx, "room", channel))
			require.NoError(t, a.GroupAdd(ctx, "room", "jobs"))
			require.NoError(t, a.Send(ctx, "jobs", text("evicted")))

			client := server.Client(t)
			ttls := map[string]time.Duration{}
			for _, key := range client.Keys(ctx, "*").Val() {
				kind := strings.Split(key, ":")[1]
				ttls[kind] = client.PTTL(ctx, key).Val()
				require.Positive(t, ttls[kind], "the TTL of %s", key)
			}
			require.Len(t, ttls, 4, "kinds of keys: a lease, an inbox, a group, a queue")
			for kind, ttl := range ttls {
				require.True(t, kind == "lease" || ttl > ttls["lease"], "a lease ends first; TTLs: %v", ttls)
			}

			require.NoError(t, client.ConfigSet(ctx, "maxmemory", "1").Err())
			soon(t, "all keys are evicted", func() bool { return client.DBSize(ctx).Val() == 0 })
			require.Error(t, a.Send(ctx, channel, text("to nobody")))
			require.NoError(t, client.ConfigSet(ctx, "maxmemory", "0").Err())
			require.Equal(t, "the inbox was lost", (<-gaps).reason)
			soon(t, "a message is sent", func() bool { return a.Send(ctx, channel, text("to one")) == nil })
			require.Equal(t, "to one", receive(t, b, channel).String("text"))
			soon(t, "the other process has noticed, too", func() bool { return a.Stats().Gaps == 1 })
			require.NoError(t, a.GroupSend(ctx, "room", text("to all")))
			require.Equal(t, "to all", receive(t, b, channel).String("text"))
			require.Equal(t, "to all", receive(t, b, "jobs").String("text"), "what was in the queue before is gone")
		})
	}
}
