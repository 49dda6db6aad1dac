package redislayer_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/channellayer/channellayer/internal/redistest"
	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/layer/layertest"
	"github.com/channellayer/channellayer/redislayer"
)

func TestConformanceOnCluster(t *testing.T) {
	cluster := redistest.StartCluster(t, redistest.ClusterConfig{})
	backend := backendOver(cluster.Client(t))
	backend.Declared = heavyUnderRace("Load/*")
	layertest.Run(t, backend)
}

// backendOver makes layers with the client; each bus has a prefix of its own.
func backendOver(client redis.UniversalClient) layertest.Backend {
	var buses atomic.Int64
	prefixes := &prefixOf{m: map[layer.Layer]string{}}
	make := func(tb testing.TB, c layertest.Config, prefix string) layer.Layer {
		l, err := redislayer.New(client, redislayer.Options{Limits: c.Limits, Observer: c.Observer, Prefix: prefix})
		require.NoError(tb, err)
		connected(tb, l)
		prefixes.set(l, prefix)
		return l
	}
	return layertest.Backend{
		New: func(tb testing.TB, c layertest.Config) layer.Layer {
			return make(tb, c, fmt.Sprintf("test.%d", buses.Add(1)))
		},
		Peer: func(tb testing.TB, c layertest.Config, first layer.Layer) layer.Layer {
			return make(tb, c, prefixes.get(first))
		},
	}
}

func connected(tb testing.TB, l *redislayer.Layer) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	var err error
	for err = l.Ping(ctx); err != nil && ctx.Err() == nil; err = l.Ping(ctx) {
		time.Sleep(5 * time.Millisecond) // until it is connected: nobody tells
	}
	require.NoError(tb, err)
}

func onCluster(tb testing.TB, cluster *redistest.Cluster, options redislayer.Options) *redislayer.Layer {
	tb.Helper()
	l, err := redislayer.New(cluster.Client(tb), options)
	require.NoError(tb, err)
	tb.Cleanup(func() { require.NoError(tb, l.Close()) })
	connected(tb, l)
	return l
}

// What processes have is spread over the cluster, and works together.
func TestClusterTwoProcesses(t *testing.T) {
	cluster := redistest.StartCluster(t, redistest.ClusterConfig{})
	ctx := t.Context()
	a, b := onCluster(t, cluster, redislayer.Options{}), onCluster(t, cluster, redislayer.Options{})
	channel := newChannel(t, b)
	own := newChannel(t, a)
	for i := range 30 {
		room, jobs := fmt.Sprintf("room-%d", i), fmt.Sprintf("jobs-%d", i)
		require.NoError(t, a.Send(ctx, channel, text(fmt.Sprint(i))))
		require.Equal(t, fmt.Sprint(i), receive(t, b, channel).String("text"))
		require.NoError(t, a.GroupAdd(ctx, room, channel))
		require.NoError(t, b.GroupAdd(ctx, room, own))
		require.NoError(t, a.GroupAdd(ctx, room, jobs))
		require.NoError(t, a.GroupSend(ctx, room, text(room)))
		require.Equal(t, room, receive(t, b, channel).String("text"))
		require.Equal(t, room, receive(t, a, own).String("text"))
		require.Equal(t, room, receive(t, b, jobs).String("text"))
		require.NoError(t, b.Send(ctx, jobs, text(jobs)))
		require.Equal(t, jobs, receive(t, b, jobs).String("text"))
		require.NoError(t, a.GroupDiscard(ctx, room, jobs))
		require.NoError(t, a.GroupSend(ctx, room, text("again")))
		require.Equal(t, "again", receive(t, b, channel).String("text"))
		require.Equal(t, "again", receive(t, a, own).String("text"))
	}
	used := 0
	for _, node := range cluster.Nodes() {
		if node.Client(t).DBSize(ctx).Val() > 0 {
			used++
		}
	}
	require.Equal(t, 3, used, "masters that have keys of the bus")
	require.NoError(t, b.Close())
	require.ErrorIs(t, a.Send(ctx, channel, text("gone")), layer.ErrChannelGone)
	require.NoError(t, a.Close())
	for _, node := range cluster.Nodes() {
		keys := node.Client(t).Keys(ctx, "*").Val()
		require.Empty(t, keys, "keys that are left")
	}
	require.Zero(t, a.Stats().Gaps+b.Stats().Gaps)
}

// A slot is moved under a process that does not notice, and sends, receives,
// joins and closes all the same: nothing is lost, so no gap is reported.
func TestClusterSlotMoved(t *testing.T) {
	cluster := redistest.StartCluster(t, redistest.ClusterConfig{})
	ctx := t.Context()
	a, b := onCluster(t, cluster, redislayer.Options{}), onCluster(t, cluster, redislayer.Options{})
	channel := newChannel(t, b)
	require.NoError(t, b.GroupAdd(ctx, "room", channel))
	move := func(tag string) {
		t.Helper()
		slot := cluster.Slot(t, "{"+tag+"}")
		to := cluster.Nodes()[0]
		if to == cluster.Owner(t, slot) {
			to = cluster.Nodes()[1]
		}
		cluster.MoveSlot(t, slot, to)
	}
	for range 2 {
		for _, tag := range []string{b.Process(), "room", "jobs", a.Process()} {
			move(tag)
			require.NoError(t, a.Send(ctx, channel, text("to one")))
			require.Equal(t, "to one", receive(t, b, channel).String("text"))
			require.NoError(t, a.GroupSend(ctx, "room", text("to all")))
			require.Equal(t, "to all", receive(t, b, channel).String("text"))
			require.NoError(t, a.Send(ctx, "jobs", text("to any")))
			require.Equal(t, "to any", receive(t, b, "jobs").String("text"))
		}
	}
	require.NoError(t, a.Ping(ctx))
	require.NoError(t, b.GroupDiscard(ctx, "room", channel))
	move(a.Process())
	move(b.Process())
	require.NoError(t, a.Close())
	require.NoError(t, b.Close())
	for _, node := range cluster.Nodes() {
		require.Empty(t, node.Client(t).Keys(ctx, "*").Val(), "keys that are left")
	}
	require.Zero(t, a.Stats().Gaps+b.Stats().Gaps)
	require.Zero(t, a.Stats().Dropped, b.Stats().Dropped)
}

// Of a process that died without Close, nothing is left but its entries in
// groups, and messages that were set aside for it. The first who meets them
// removes the one, and has the other go to somebody else.
func TestClusterDeadProcess(t *testing.T) {
	cluster := redistest.StartCluster(t, redistest.ClusterConfig{})
	ctx := t.Context()
	a, dead, c := onCluster(t, cluster, redislayer.Options{}), onCluster(t, cluster, redislayer.Options{}), onCluster(t, cluster, redislayer.Options{})
	client := cluster.Client(t)
	channel := newChannel(t, dead)
	require.NoError(t, dead.GroupAdd(ctx, "room", channel))
	waiting, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, 1)
	go func() {
		_, err := dead.Receive(waiting, "jobs")
		ended <- err
	}()
	soon(t, "a receiver that waits", func() bool { return client.LLen(ctx, "channellayer:waiting:{jobs}").Val() == 1 })

	tag := "{" + dead.Process() + "}"
	require.NoError(t, client.Del(ctx, "channellayer:inbox:"+tag, "channellayer:lease:"+tag).Err())
	require.EqualValues(t, 1, client.ZCard(ctx, "channellayer:group:{room}").Val())
	require.NoError(t, a.GroupSend(ctx, "room", text("to nobody")))
	soon(t, "the group without the dead process", func() bool { return client.Exists(ctx, "channellayer:group:{room}").Val() == 0 })
	require.ErrorIs(t, a.Send(ctx, channel, text("to nobody")), layer.ErrChannelGone)

	require.NoError(t, a.Send(ctx, "jobs", text("first")))
	require.NoError(t, a.Send(ctx, "jobs", text("second")))
	// The first was on its way to the dead one, which the second may overtake.
	require.ElementsMatch(t, []string{"first", "second"}, []string{receive(t, c, "jobs").String("text"), receive(t, c, "jobs").String("text")})
	stop()
	require.ErrorIs(t, <-ended, context.Canceled)
}

// While a slot stands half-way, keys that exist are at the old node, and new
// ones are made at the new one.
func TestClusterSlotHalfWay(t *testing.T) {
	cluster := redistest.StartCluster(t, redistest.ClusterConfig{})
	ctx := t.Context()
	a, b := onCluster(t, cluster, redislayer.Options{}), onCluster(t, cluster, redislayer.Options{})
	channel := newChannel(t, b)
	slot := cluster.Slot(t, "{room}")
	to := cluster.Nodes()[0]
	if to == cluster.Owner(t, slot) {
		to = cluster.Nodes()[1]
	}
	finish := cluster.BeginMoveSlot(t, slot, to)
	require.NoError(t, b.GroupAdd(ctx, "room", channel), "a group that is not at the old node")
	require.NoError(t, a.GroupSend(ctx, "room", text("half-way")))
	require.Equal(t, "half-way", receive(t, b, channel).String("text"))
	finish()
	require.NoError(t, a.GroupSend(ctx, "room", text("moved")))
	require.Equal(t, "moved", receive(t, b, channel).String("text"))
	require.Zero(t, a.Stats().Gaps+b.Stats().Gaps)
}

// A message whose receiver has gone away while it was on its way goes to
// another one, and none is lost or comes twice however often that happens:
// with messages that wait in the queue, and with receivers that wait for them.
func TestClusterCancelledReceivers(t *testing.T) {
	cluster := redistest.StartCluster(t, redistest.ClusterConfig{})
	ctx := t.Context()
	const messages = 200
	options := redislayer.Options{Limits: layer.Limits{Capacity: messages}}
	a, b := onCluster(t, cluster, options), onCluster(t, cluster, options)
	send := func(channel string) {
		for i := range messages {
			assert.NoError(t, a.Send(ctx, channel, text(fmt.Sprint(i))))
		}
	}
	send("full")
	var sending sync.WaitGroup
	defer sending.Wait()
	sending.Go(func() { send("empty") })
	for _, channel := range []string{"full", "empty"} {
		got, seen := 0, make([]int, messages)
		deadline := time.Now().Add(60 * time.Second)
		for i := 0; got < messages && time.Now().Before(deadline); i++ {
			l := []*redislayer.Layer{a, b}[i%2]
			short, cancel := context.WithTimeout(ctx, time.Duration(rand.N(2000))*time.Microsecond)
			if msg, err := l.Receive(short, channel); err == nil {
				n, err := strconv.Atoi(msg.String("text"))
				require.NoError(t, err)
				seen[n]++
				got++
			}
			cancel()
		}
		for n, times := range seen {
			require.Equal(t, 1, times, "message %d to %s was received %d times", n, channel, times)
		}
	}
}

// The rights that are documented for a Cluster are enough, and what is missing
// is told.
func TestClusterRights(t *testing.T) {
	operations, err := os.ReadFile("OPERATIONS.md")
	require.NoError(t, err)
	_, sentence, found := strings.Cut(string(operations), "On a Cluster `+")
	require.True(t, found)
	sentence, _, _ = strings.Cut(sentence, "are needed besides")
	rights := append(documentedRights(t), regexp.MustCompile(`[+][a-z|]+`).FindAllString("+"+sentence, -1)...)
	cluster := redistest.StartCluster(t, redistest.ClusterConfig{Redis: redistest.Config{Users: []string{"bus on >secret " + strings.Join(rights, " ")}}})
	client := redis.NewClusterClient(&redis.ClusterOptions{Addrs: cluster.Addrs(), Username: "bus", Password: "secret"})
	defer client.Close()
	ctx := t.Context()
	var layers []*redislayer.Layer
	for range 2 {
		l, err := redislayer.New(client, redislayer.Options{})
		require.NoError(t, err)
		defer l.Close()
		connected(t, l)
		layers = append(layers, l)
	}
	a, b := layers[0], layers[1]
	slot := cluster.Slot(t, "{room}")
	to := cluster.Nodes()[0]
	if to == cluster.Owner(t, slot) {
		to = cluster.Nodes()[1]
	}
	finish := cluster.BeginMoveSlot(t, slot, to)
	channel := newChannel(t, b)
	require.NoError(t, a.GroupAdd(ctx, "room", channel))
	finish()
	require.NoError(t, a.GroupAdd(ctx, "room", "jobs"))
	for range 2 {
		require.NoError(t, a.GroupSend(ctx, "room", text("to all")))
		require.Equal(t, "to all", receive(t, b, channel).String("text"))
		require.Equal(t, "to all", receive(t, b, "jobs").String("text"))
	}
	require.NoError(t, a.Send(ctx, channel, text("to one")))
	require.Equal(t, "to one", receive(t, b, channel).String("text"))
	require.NoError(t, a.Flush(ctx))
	require.NoError(t, a.Close())
	require.NoError(t, b.Close())
	for _, node := range cluster.Nodes() {
		for _, entry := range node.Client(t).Do(ctx, "ACL", "LOG").Val().([]any) {
			// The client below asks for things that it can do without.
			require.Contains(t, strings.ToLower(fmt.Sprint(entry)), "client|", "refused")
		}
	}
	for _, right := range []string{"hdel", "hkeys", "cluster|slots", "evalsha"} {
		for _, node := range cluster.Nodes() {
			require.NoError(t, node.Client(t).Do(ctx, "ACL", "SETUSER", "bus", "-"+right).Err())
		}
		l, err := redislayer.New(client, redislayer.Options{})
		require.NoError(t, err)
		var setup *redislayer.SetupError
		soon(t, "an error that says what to do, without "+right, func() bool { return errors.As(l.Send(ctx, "jobs", text("1")), &setup) })
		require.ErrorContains(t, setup, "OPERATIONS.md", "without %s", right)
		command, _, _ := strings.Cut(right, "|")
		require.Contains(t, strings.ToLower(setup.Error()), command, "without %s", right)
		require.NoError(t, l.Close())
		for _, node := range cluster.Nodes() {
			require.NoError(t, node.Client(t).Do(ctx, "ACL", "SETUSER", "bus", "+"+right).Err())
		}
	}
}
