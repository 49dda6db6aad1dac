package faults

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/channellayer/channellayer/internal/faultproxy"
	"github.com/channellayer/channellayer/internal/redistest"
)

// containing matches a request that contains all the texts.
func containing(texts ...string) faultproxy.Match {
	return func(request []byte) bool {
		for _, text := range texts {
			if !bytes.Contains(request, []byte(text)) {
				return false
			}
		}
		return true
	}
}

// struckTimeout is how long a request that walks into a trap may be waited for.
const struckTimeout = 20 * time.Second

func (f *fleet) awaitStruck(struck <-chan struct{}) time.Time {
	f.t.Helper()
	select {
	case <-struck:
	case <-time.After(struckTimeout):
		f.t.Fatal("no request came that the fault is for")
	}
	return time.Now()
}

func dropReply(texts ...string) func(*fleet, int) time.Time {
	return func(f *fleet, i int) time.Time {
		return f.awaitStruck(f.proxies[i%processes].DropReplies(1, containing(texts...)))
	}
}

func dropRequest(texts ...string) func(*fleet, int) time.Time {
	return func(f *fleet, i int) time.Time {
		return f.awaitStruck(f.proxies[i%processes].DropRequests(1, containing(texts...)))
	}
}

func cut(text string) func(*fleet, int) time.Time {
	return func(f *fleet, i int) time.Time {
		n := f.proxies[i%processes].Cut(containing(text), i%2 == 0)
		require.Positive(f.t, n, "connections to cut")
		return time.Now()
	}
}

func refused(f *fleet, i int) time.Time {
	p := f.proxies[i%processes]
	p.Refuse()
	p.Cut(faultproxy.Any, true)
	time.Sleep(time.Second) // how long the fault lasts
	p.Heal()
	return time.Now()
}

// blackHole is for one process, and for all every third time.
func blackHole(d faultproxy.Direction, lasts time.Duration) func(*fleet, int) time.Time {
	return func(f *fleet, i int) time.Time {
		proxies := f.proxies
		if i%3 != 2 {
			proxies = proxies[i%processes:][:1]
		}
		for _, p := range proxies {
			p.BlackHole(d)
		}
		time.Sleep(lasts)
		for _, p := range proxies {
			p.Heal()
		}
		return time.Now()
	}
}

// deaf lasts: nothing but a connection of the layer's own making ends it.
func deaf(text string) func(*fleet, int) time.Time {
	return func(f *fleet, i int) time.Time {
		n := f.proxies[i%processes].Deafen(containing(text))
		require.Positive(f.t, n, "connections to deafen")
		return time.Now()
	}
}

func delay(f *fleet, i int) time.Time {
	p := f.proxies[i%processes]
	p.Delay(faultproxy.Both, 50*time.Millisecond, 50*time.Millisecond)
	time.Sleep(time.Second)
	p.Heal()
	return time.Now()
}

// clientKill kills connections by the command that they ran last.
func clientKill(command string) func(*fleet, int) time.Time {
	return func(f *fleet, i int) time.Time {
		client := f.client()
		self, err := client.ClientID(f.t.Context()).Result()
		require.NoError(f.t, err)
		list, err := client.Do(f.t.Context(), "CLIENT", "LIST", "TYPE", "normal").Text()
		require.NoError(f.t, err)
		killed := 0
		for line := range strings.Lines(list) {
			fields := map[string]string{}
			for _, field := range strings.Fields(line) {
				name, value, _ := strings.Cut(field, "=")
				fields[name] = value
			}
			if fields["id"] != fmt.Sprint(self) && strings.Contains(fields["cmd"], command) {
				// It may have ended by itself.
				client.Do(f.t.Context(), "CLIENT", "KILL", "ID", fields["id"])
				killed++
			}
		}
		require.Positive(f.t, killed, "connections to kill in\n%s", list)
		return time.Now()
	}
}

func clientPause(f *fleet, i int) time.Time {
	const lasts = 1500 * time.Millisecond
	mode := []string{"ALL", "WRITE"}[i%2]
	require.NoError(f.t, f.client().Do(f.t.Context(), "CLIENT", "PAUSE", lasts.Milliseconds(), mode).Err())
	time.Sleep(lasts)
	return time.Now()
}

func serverPause(lasts time.Duration) func(*fleet, int) time.Time {
	return func(f *fleet, i int) time.Time {
		f.server().Pause()
		time.Sleep(lasts)
		f.server().Resume()
		return time.Now()
	}
}

func outOfMemory(f *fleet, i int) time.Time {
	client := f.client()
	require.NoError(f.t, client.ConfigSet(f.t.Context(), "maxmemory", "1").Err())
	time.Sleep(time.Second)
	require.NoError(f.t, client.ConfigSet(f.t.Context(), "maxmemory", "0").Err())
	return time.Now()
}

func restart(empty bool) func(*fleet, int) time.Time {
	return func(f *fleet, i int) time.Time {
		s := f.server()
		s.Kill()
		time.Sleep(time.Duration(i%3) * 500 * time.Millisecond)
		if empty {
			s.RestartEmpty(f.t)
		} else {
			s.Restart(f.t)
		}
		return time.Now()
	}
}

// restartOlder loses what was written since a snapshot.
func restartOlder(f *fleet, i int) time.Time {
	require.NoError(f.t, f.client().Save(f.t.Context()).Err())
	time.Sleep(500 * time.Millisecond)
	return restart(false)(f, i)
}

// evict removes keys as eviction does: without a word.
func evict(kind string) func(*fleet, int) time.Time {
	return func(f *fleet, i int) time.Time {
		client := f.client()
		var keys []string
		found := wait(5*time.Second, func() bool { // all receivers may be busy
			keys = client.Keys(f.t.Context(), prefix+":"+kind+":*").Val()
			return len(keys) > 0
		})
		require.True(f.t, found, "no keys of the kind %s", kind)
		if kind == "inbox" || kind == "lease" {
			keys = keys[i%len(keys):][:1]
		}
		require.NoError(f.t, client.Unlink(f.t.Context(), keys...).Err())
		return time.Now()
	}
}

// evictAll makes Redis evict all that has a TTL.
func evictAll(f *fleet, i int) time.Time {
	client, ctx := f.client(), f.t.Context()
	evicted := func() string { return f.server().Info(f.t, "stats")["evicted_keys"] }
	before := evicted()
	require.NoError(f.t, client.ConfigSet(ctx, "maxmemory-policy", "volatile-random").Err())
	require.NoError(f.t, client.ConfigSet(ctx, "maxmemory", "1").Err())
	require.True(f.t, wait(5*time.Second, func() bool { return evicted() != before }), "Redis evicts nothing")
	require.NoError(f.t, client.ConfigSet(ctx, "maxmemory", "0").Err())
	return time.Now()
}

func pauseProcess(f *fleet, i int) time.Time {
	p := f.processes[i%processes]
	p.pause(f.t)
	time.Sleep(longerThanQuick)
	p.resume(f.t)
	return time.Now()
}

// failover loses what was written while the replica lagged.
func failover(f *fleet, i int) time.Time {
	s := f.config.sentinel
	s.LagReplica(f.t)
	time.Sleep(500 * time.Millisecond)
	old := s.Master()
	s.KillMaster()
	ctx, cancel := context.WithTimeout(f.t.Context(), 30*time.Second)
	defer cancel()
	_, err := s.WaitPromoted(ctx)
	require.NoError(f.t, err)
	return f.promoted(func() {
		old.Restart(f.t) // Sentinel makes it a replica
	})
}

// orderedFailover is one that an operator asked for. On a busy machine a
// sentinel may give it up, or another one may not have heard of it, take the
// promoted server for a stray and set it back: then it is asked for again.
func orderedFailover(f *fleet, i int) time.Time {
	s := f.config.sentinel
	asked := redis.NewClient(&redis.Options{Addr: s.SentinelAddrs()[0], MaxRetries: -1})
	defer asked.Close()
	require.True(f.t, wait(60*time.Second, func() bool {
		asked.Do(f.t.Context(), "SENTINEL", "FAILOVER", s.MasterName())
		ctx, cancel := context.WithTimeout(f.t.Context(), 8*time.Second)
		defer cancel()
		_, err := s.WaitPromoted(ctx)
		return err == nil
	}), "no failover although it was ordered")
	return f.promoted(func() {})
}

// promoted is called after the promotion, and waits, later, for the other
// server to become a replica in step.
func (f *fleet) promoted(bringBack func()) time.Time {
	at := time.Now()
	f.after = append(f.after, func() {
		bringBack()
		client := f.client()
		require.True(f.t, wait(30*time.Second, func() bool {
			info, err := client.Info(context.Background(), "replication").Result()
			return err == nil && strings.Contains(info, "state=online")
		}), "the old master does not become a replica")
	})
	return at
}

// moveSlot moves the slot of an inbox, of a group and of a normal channel in
// turn, to another master. For a while it is half-way.
func moveSlot(halfWay time.Duration) func(*fleet, int) time.Time {
	return func(f *fleet, i int) time.Time {
		c := f.config.cluster
		tag := []string{f.tag(i / 3 % processes), fmt.Sprintf("{group-%d}", i/3%groupCount), fmt.Sprintf("{normal-%d}", i/3%normalChannels)}[i%3]
		slot := c.Slot(f.t, tag)
		masters := c.Nodes()[:3] // none has been killed
		to := masters[i%3]
		if to == c.Owner(f.t, slot) {
			to = masters[(i+1)%3]
		}
		finish := c.BeginMoveSlot(f.t, slot, to)
		time.Sleep(halfWay)
		finish()
		return time.Now()
	}
}

// inboxAhead moves a process's inbox to another master, and leaves its slot
// half-way, for longer than the process's lease.
func inboxAhead(f *fleet, i int) time.Time {
	c, tag := f.config.cluster, f.tag(i%processes)
	slot := c.Slot(f.t, tag)
	from := c.Owner(f.t, slot)
	to := c.Nodes()[i%3] // a master: none has been killed
	if to == from {
		to = c.Nodes()[(i+1)%3]
	}
	finish := c.BeginMoveSlot(f.t, slot, to)
	c.MoveKeys(f.t, from, to, prefix+":inbox:"+tag, prefix+":lease:"+tag)
	f.after = append(f.after, func() {
		time.Sleep(longerThanQuick)
		finish()
	})
	return time.Now()
}

// masterBlackHole is one at the master of a process's inbox, for all processes
// and for that one in turn.
func masterBlackHole(d faultproxy.Direction, lasts time.Duration) func(*fleet, int) time.Time {
	return func(f *fleet, i int) time.Time {
		at := f.inboxMaster(i % processes).Addr()
		var proxies []*faultproxy.Proxy
		for process, through := range f.through {
			if i%2 == 0 || process == i%processes {
				proxies = append(proxies, through[at])
			}
		}
		for _, p := range proxies {
			p.BlackHole(d)
		}
		time.Sleep(lasts)
		for _, p := range proxies {
			p.Heal()
		}
		return time.Now()
	}
}

// masterDeaf is deaf for connections to the master of a process's inbox: those
// of that process, or of the next one.
func masterDeaf(text string) func(*fleet, int) time.Time {
	return func(f *fleet, i int) time.Time {
		by := i
		if text == "" {
			by += i / processes
		}
		proxy := f.through[by%processes][f.inboxMaster(i%processes).Addr()]
		require.Positive(f.t, proxy.Deafen(containing(text)), "connections to deafen")
		return time.Now()
	}
}

// tag is what a process's keys have in common on a Cluster.
func (f *fleet) tag(process int) string {
	_, name, _ := strings.Cut(f.history.Channels[process].Name, ".")
	name, _, _ = strings.Cut(name, "!")
	return "{" + name + "}"
}

// inboxMaster returns the master of a process's inbox.
func (f *fleet) inboxMaster(process int) *redistest.Server {
	c := f.config.cluster
	return c.Owner(f.t, c.Slot(f.t, f.tag(process)))
}

// stopMaster stops a master, so that its replica is promoted, and lets it go
// on: it believes that it is the master, until it hears otherwise.
func stopMaster(f *fleet, i int) time.Time {
	old := f.inboxMaster(i % processes)
	old.Pause()
	time.Sleep(5 * time.Second) // more than the node timeout, and the election
	old.Resume()
	require.NoError(f.t, f.config.cluster.WaitOK(f.t.Context()))
	return time.Now()
}

// promoteLagging kills a master whose replica has not kept up with it.
func promoteLagging(f *fleet, i int) time.Time {
	c := f.config.cluster
	old := f.inboxMaster(i % processes)
	replica := c.Replicas(f.t, old)[0]
	client := f.clientOf(old)
	require.NoError(f.t, client.Do(f.t.Context(), "ACL", "SETUSER", "default", "-psync", "-sync").Err())
	require.NoError(f.t, client.Do(f.t.Context(), "CLIENT", "KILL", "TYPE", "replica").Err())
	require.True(f.t, wait(10*time.Second, func() bool { return replica.Info(f.t, "replication")["master_link_status"] == "down" }), "the replica keeps up")
	time.Sleep(500 * time.Millisecond)
	old.Kill()
	require.True(f.t, wait(30*time.Second, func() bool { return replica.Info(f.t, "replication")["role"] == "master" }), "no promotion")
	require.NoError(f.t, c.WaitOK(f.t.Context()))
	at := time.Now()
	f.after = append(f.after, func() { f.bringBack(old) })
	return at
}

// bringBack starts a node of the cluster again, which becomes a replica.
func (f *fleet) bringBack(node *redistest.Server) {
	node.Restart(f.t)
	require.NoError(f.t, f.config.cluster.WaitOK(f.t.Context()))
}

// promote kills the master of a process's inbox.
func promote(f *fleet, i int) time.Time {
	c := f.config.cluster
	old := f.inboxMaster(i % processes)
	c.KillMaster(f.t, old)
	at := time.Now()
	f.after = append(f.after, func() { f.bringBack(old) })
	return at
}
