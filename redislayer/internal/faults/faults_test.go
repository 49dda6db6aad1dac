package faults

import (
	"strings"
	"testing"
	"time"

	"github.com/channellayer/channellayer/internal/faultproxy"
	"github.com/channellayer/channellayer/internal/redistest"
)

// fault is one row of the table.
type fault struct {
	name  string
	times int // in the short version

	redis          redistest.Config
	sentinel       bool          // master, replica and sentinels in place of one server
	cluster        bool          // three masters with a replica each in place of one server
	proxied        bool          // a cluster that each process reaches by proxies of its own
	timeout, lease time.Duration // 0: the defaults

	// inject does the fault for the i-th time, ends it, and returns the moment
	// from which recovery counts.
	inject func(f *fleet, i int) (ended time.Time)
	// bound is how long recovery may take; 0 where none is stated.
	bound time.Duration
	// loses is whether Redis, or what it holds, was lost: otherwise there is no
	// cause for a gap.
	loses bool
	// stops is for how long a process is stopped, and its sends with it.
	stops time.Duration
	// setBack is whether Redis comes back with an older state.
	setBack bool
}

// Bounds that are stated. A connection that writes is found to be deaf when the
// layer's Timeout ends, so the bound after a black hole holds for connections
// that stay deaf if that is two probe intervals.
const (
	probeInterval   = time.Second
	afterRestart    = 2 * time.Second
	afterBlackHole  = 2*probeInterval + 2*time.Second
	afterPromotion  = 3 * time.Second
	afterMove       = probeInterval + 2*time.Second // a read that waits at the old node has to end
	quickTimeout    = time.Second                   // with quickLease, where heartbeats matter
	quickLease      = 4 * time.Second
	quickHeartbeat  = quickLease / 3
	longerThanQuick = quickLease + 2*time.Second // an inbox, with all its keys, has ended
)

var allFaults = []fault{
	{name: "reply to a send lost", times: 12, inject: dropReply("EVALSHA", ":inbox:")},
	{name: "reply to a group send lost", times: 12, inject: dropReply("EVALSHA", ":group:")},
	{name: "reply about a normal channel lost", times: 12, inject: dropReply("EVALSHA", ":queue:")},
	{name: "reply to the reader lost", times: 12, inject: dropReply("XREAD")},
	{name: "request of the writer lost", times: 12, inject: dropRequest("EVALSHA")},
	{name: "request of the reader lost", times: 12, inject: dropRequest("XREAD")},
	{name: "reader cut", times: 12, inject: cut("XREAD")},
	{name: "all connections cut", times: 9, inject: cut("")},
	{name: "cut and refused", times: 3, inject: refused, bound: afterRestart},
	{name: "black hole, short", times: 3, inject: blackHole(faultproxy.Both, 300*time.Millisecond), bound: afterBlackHole},
	{name: "black hole, long", times: 2, inject: blackHole(faultproxy.Both, 4*time.Second), bound: afterBlackHole},
	{name: "black hole for replies", times: 2, inject: blackHole(faultproxy.ToClient, 3500*time.Millisecond), bound: afterBlackHole},
	{name: "reader deaf", times: 3, inject: deaf("XREAD"), bound: afterBlackHole},
	{name: "all connections deaf", times: 3, timeout: 2 * probeInterval, inject: deaf(""), bound: afterBlackHole},
	{name: "delay", times: 3, inject: delay},
	{name: "CLIENT KILL of readers", times: 9, inject: clientKill("xread")},
	{name: "CLIENT KILL of all", times: 9, inject: clientKill("")},
	{name: "CLIENT PAUSE", times: 3, inject: clientPause},
	{name: "Redis stopped, short", times: 3, inject: serverPause(500 * time.Millisecond), bound: afterBlackHole},
	{name: "Redis stopped, long", times: 2, inject: serverPause(4 * time.Second), bound: afterBlackHole},
	{name: "maxmemory", times: 3, inject: outOfMemory},
	{name: "kill -9, restart with data", times: 4, redis: redistest.Config{AOF: true}, inject: restart(false), bound: afterRestart, loses: true},
	{name: "kill -9, restart empty", times: 4, inject: restart(true), bound: afterRestart, loses: true},
	{name: "kill -9, older snapshot", times: 3, redis: redistest.Config{RDB: true}, inject: restartOlder, bound: afterRestart, loses: true, setBack: true},
	{name: "inbox evicted", times: 3, timeout: quickTimeout, lease: quickLease, inject: evict("inbox"), bound: quickHeartbeat + 2*time.Second, loses: true},
	{name: "lease evicted", times: 3, timeout: quickTimeout, lease: quickLease, inject: evict("lease"), bound: quickHeartbeat + 2*time.Second, loses: true},
	{name: "groups evicted", times: 3, timeout: quickTimeout, lease: quickLease, inject: evict("group"), bound: quickHeartbeat + 2*time.Second, loses: true},
	{name: "waiting receivers evicted", times: 3, timeout: quickTimeout, lease: quickLease, inject: evict("waiting"), bound: quickHeartbeat + 2*time.Second},
	{name: "volatile keys evicted", times: 2, timeout: quickTimeout, lease: quickLease, inject: evictAll, bound: quickHeartbeat + 2*time.Second, loses: true},
	{name: "process paused beyond its lease", times: 2, timeout: quickTimeout, lease: quickLease, inject: pauseProcess, loses: true, stops: longerThanQuick},
	{name: "failover to a lagging replica", times: 2, sentinel: true, inject: failover, bound: afterPromotion, loses: true, setBack: true},
	{name: "Cluster: slot moved", times: 6, cluster: true, inject: moveSlot(0), bound: afterRestart},
	{name: "Cluster: slot moved slowly", times: 3, cluster: true, inject: moveSlot(time.Second), bound: afterRestart},
	{name: "Cluster: inbox moved, slot left half-way", times: 3, cluster: true, timeout: quickTimeout, lease: quickLease, inject: inboxAhead, bound: afterMove},
	{name: "Cluster: black hole, short", times: 4, cluster: true, proxied: true, inject: masterBlackHole(faultproxy.Both, 300*time.Millisecond), bound: afterBlackHole},
	{name: "Cluster: black hole, long", times: 4, cluster: true, proxied: true, inject: masterBlackHole(faultproxy.Both, 4*time.Second), bound: afterBlackHole},
	{name: "Cluster: black hole for replies", times: 4, cluster: true, proxied: true, inject: masterBlackHole(faultproxy.ToClient, 3500*time.Millisecond), bound: afterBlackHole},
	{name: "Cluster: reader deaf", times: 3, cluster: true, proxied: true, inject: masterDeaf("XREAD"), bound: afterBlackHole},
	{name: "Cluster: all connections to a master deaf", times: 6, cluster: true, proxied: true, timeout: 2 * probeInterval, inject: masterDeaf(""), bound: afterBlackHole},
	{name: "Cluster: master killed, replica promoted", times: 2, cluster: true, inject: promote, bound: afterPromotion, loses: true, setBack: true},
	{name: "Cluster: master stopped, replica promoted", times: 2, cluster: true, inject: stopMaster, bound: afterPromotion, loses: true, setBack: true},
	{name: "Cluster: failover to a lagging replica", times: 2, cluster: true, inject: promoteLagging, bound: afterPromotion, loses: true, setBack: true},
	{name: "failover, ordered", times: 1, sentinel: true, inject: orderedFailover, bound: afterPromotion, loses: true, setBack: true},
}

// minimumRate is what a fleet sends in a second, at least, while no fault lasts.
const (
	ratePerSender = 60
	minimumRate   = senders * ratePerSender / 2
)

// The rate is taken in the time before each fault: so much before the first,
// and before the others.
const (
	calmFirst = time.Second
	calmNext  = 250 * time.Millisecond
)

// TestFaults injects each fault many times while messages flow.
func TestFaults(t *testing.T) {
	table := &table{}
	t.Run("all", func(t *testing.T) {
		for _, fault := range allFaults {
			t.Run(strings.ReplaceAll(fault.name, " ", "-"), func(t *testing.T) {
				t.Parallel()
				table.add(fault.run(t))
			})
		}
	})
	t.Logf("\n%s", table)
}

func (x fault) run(t *testing.T) row {
	c := fleetConfig{timeout: x.timeout, lease: x.lease, rate: ratePerSender, proxied: x.proxied}
	switch {
	case x.sentinel:
		c.sentinel = redistest.StartSentinel(t, redistest.SentinelConfig{})
	case x.cluster:
		c.cluster = redistest.StartCluster(t, redistest.ClusterConfig{Replicas: 1})
	default:
		c.server = redistest.Start(t, x.redis)
	}
	f := launch(t, c)
	f.history.SetBack = x.setBack
	r := row{fault: x.name, bound: x.bound}
	began := time.Now()
	f.recovered(began)
	f.keepCalm(calmFirst)
	for {
		start := time.Now()
		ended := x.inject(f, r.times)
		took := f.recovered(ended)
		f.history.Faults = append(f.history.Faults, NewWindow(start, time.Now()))
		r.worst = max(r.worst, took)
		for _, do := range f.after {
			do()
		}
		f.after = nil
		if r.times++; r.enough(x, time.Since(began)) {
			break
		}
		f.keepCalm(calmNext)
	}
	f.stopSending()
	f.drain()
	r.account = f.finish()
	r.rate = f.history.Rate(f.calm)
	r.errors = f.errorLines()
	r.slowest = f.slowest
	x.judge(t, r)
	return r
}

// judge fails the test for every promise that was broken.
func (x fault) judge(t *testing.T, r row) {
	a := r.account
	for _, finding := range a.Findings {
		t.Error(finding)
	}
	if a.Gaps > 0 && !x.loses {
		t.Errorf("%d gaps were reported, and nothing can have been lost", a.Gaps)
	}
	if x.bound > 0 && r.worst > x.bound {
		t.Errorf("recovery took %v, more than the %v that are stated", r.worst, x.bound)
	}
	if r.rate < minimumRate {
		t.Errorf("%.0f messages a second were sent, fewer than %d, while there was no fault", r.rate, minimumRate)
	}
	timeout := x.timeout
	if timeout == 0 {
		timeout = defaultTimeout
	}
	if most := timeout + x.stops + 2*time.Second; r.slowest > most {
		t.Errorf("a send took %v, more than its timeout of %v and some time on a busy machine", r.slowest, timeout)
	}
	if t.Failed() {
		t.Logf("errors of sends:\n%s", strings.Join(r.errors, "\n"))
	}
}

// keepCalm lets messages flow for a while.
func (f *fleet) keepCalm(d time.Duration) {
	from := time.Now()
	time.Sleep(d)
	f.calm = append(f.calm, NewWindow(from, time.Now()))
}
