package faults

import (
	"bufio"
	"encoding/gob"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/channellayer/channellayer/internal/faultproxy"
	"github.com/channellayer/channellayer/internal/redistest"
)

// What a fleet is made of.
const (
	processes      = 3
	senders        = 8
	directCount    = 8
	members        = 200
	groupCount     = 4
	normalChannels = 2
)

// prefix begins all keys of a fleet at Redis.
const prefix = "faults"

// fleetConfig says how a fleet is started.
type fleetConfig struct {
	server   *redistest.Server   // reached by proxies, or
	sentinel *redistest.Sentinel // reached directly, or
	cluster  *redistest.Cluster  // reached directly, or
	proxied  bool                // by proxies, one for each node

	timeout, lease time.Duration // 0: the defaults

	rate      float64 // of each sender, in messages a second
	limit     int     // of each sender; 0: none
	groupPart int     // how many of a sender's round go to each group, for one that goes to each normal channel
	otherPart int     // and how many to each of those, and to each channel
}

// fleet is three processes that talk to each other.
type fleet struct {
	t         *testing.T
	config    fleetConfig
	processes []*process
	proxies   []*faultproxy.Proxy            // by process
	through   []map[string]*faultproxy.Proxy // by process, and address of a node, if proxied
	history   History
	errors    map[string]int
	slowest   time.Duration
	after     []func() // to be done after recovery, before the next fault
	calm      []Window // when there was no fault
}

func launch(t *testing.T, c fleetConfig) *fleet {
	f := &fleet{t: t, config: c, errors: map[string]int{}}
	open := openCommand{Prefix: prefix, Timeout: c.timeout, Lease: c.lease}
	for range processes {
		switch {
		case c.sentinel != nil:
			open.Sentinels, open.Master = c.sentinel.SentinelAddrs(), c.sentinel.MasterName()
		case c.cluster != nil:
			open.Nodes = c.cluster.Addrs()
			if c.proxied {
				open.Through = f.proxyNodes()
			}
		default:
			proxy := faultproxy.New(t, c.server.Addr())
			f.proxies = append(f.proxies, proxy)
			open.URL = "redis://" + proxy.Addr()
		}
		open.Channels = len(f.channelsOf(len(f.processes)))
		p := startProcess(t)
		f.processes = append(f.processes, p)
		f.addChannels(p.ask(t, command{Open: &open}).Channels)
	}
	f.join()
	f.start()
	return f
}

// proxyNodes starts proxies for a process, and returns their addresses by those
// of the nodes.
func (f *fleet) proxyNodes() map[string]string {
	proxies, addrs := map[string]*faultproxy.Proxy{}, map[string]string{}
	for _, node := range f.config.cluster.Addrs() {
		proxies[node] = faultproxy.New(f.t, node)
		addrs[node] = proxies[node].Addr()
	}
	f.through = append(f.through, proxies)
	return addrs
}

// channelsOf returns which process-specific channels a process has: first come
// the eight that messages are sent to, then the members of groups.
func (f *fleet) channelsOf(process int) (indexes []int) {
	for i := range directCount + members {
		if i%processes == process {
			indexes = append(indexes, i)
		}
	}
	return indexes
}

func (f *fleet) addChannels(names []string) {
	if f.history.Channels == nil {
		f.history.Channels = make([]Channel, directCount+members)
	}
	process := len(f.processes) - 1
	for i, index := range f.channelsOf(process) {
		f.history.Channels[index] = Channel{names[i], process}
	}
}

// groupsOf returns in which groups a channel is.
func groupsOf(channel int) int {
	if channel < directCount {
		return 0
	}
	return channel % groupCount
}

// join adds every channel to its group: half of them from their own process, the
// others from another.
func (f *fleet) join() {
	joins := make([]joinCommand, processes)
	for i, c := range f.history.Channels {
		by := (c.Process + i/processes%2) % processes
		joins[by].Groups = append(joins[by].Groups, fmt.Sprintf("group-%d", groupsOf(i)))
		joins[by].Channels = append(joins[by].Channels, c.Name)
	}
	for i, p := range f.processes {
		p.ask(f.t, command{Join: &joins[i]})
	}
}

func (f *fleet) start() {
	h := &f.history
	for i := range directCount {
		h.Destinations = append(h.Destinations, Destination{h.Channels[i].Name, Direct, []int{i}})
	}
	for g := range groupCount {
		var channels []int
		for i := range directCount + members {
			if groupsOf(i) == g {
				channels = append(channels, i)
			}
		}
		h.Destinations = append(h.Destinations, Destination{fmt.Sprintf("group-%d", g), Group, channels})
	}
	for n := range normalChannels {
		name := fmt.Sprintf("normal-%d", n)
		var channels []int
		for p := range processes {
			channels = append(channels, len(h.Channels))
			h.Channels = append(h.Channels, Channel{name, p})
		}
		h.Destinations = append(h.Destinations, Destination{name, Normal, channels})
	}
	var order []int
	for i := range max(f.config.groupPart, f.config.otherPart, 1) {
		for d := range h.Destinations {
			part := max(1, f.config.otherPart)
			if h.Destinations[d].Kind == Group {
				part = max(1, f.config.groupPart)
			}
			if i < part {
				order = append(order, d)
			}
		}
	}
	for s := range senders {
		h.Homes = append(h.Homes, s%processes)
	}
	for i, p := range f.processes {
		c := startCommand{
			Readers: map[int]string{}, AllSenders: senders, Destinations: h.Destinations,
			Order: order, Rate: f.config.rate, Limit: f.config.limit,
		}
		for _, d := range h.Destinations {
			c.Local = append(c.Local, d.Kind == Direct && h.Channels[d.Channels[0]].Process == i)
		}
		for index, channel := range h.Channels {
			if channel.Process == i {
				c.Readers[index] = channel.Name
			}
		}
		for s, home := range h.Homes {
			if home == i {
				c.Senders = append(c.Senders, s)
			}
		}
		p.ask(f.t, command{Start: &c})
	}
}

// recoveryTimeout is how long to wait for a recovery for which no bound is
// stated.
const recoveryTimeout = 60 * time.Second

// recovered waits until every channel has received, from every sender, a
// message that was sent after the given time, and returns how long after it the
// last did.
func (f *fleet) recovered(since time.Time) time.Duration {
	f.t.Helper()
	return f.met(command{Since: since.UnixNano()})
}

func (f *fleet) met(c command) (took time.Duration) {
	f.t.Helper()
	deadline := time.Now().Add(recoveryTimeout)
	for i, p := range f.processes {
		for {
			a := p.ask(f.t, c)
			if a.Missing == 0 {
				took = max(took, time.Duration(a.Met-c.Since))
				break
			}
			if time.Now().After(deadline) {
				f.t.Fatalf("%v later, %d pairs of sender and channel of process %d have not met, such as %s", recoveryTimeout, a.Missing, i, a.Example)
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
	return took
}

func (f *fleet) stopSending() {
	for _, p := range f.processes {
		p.ask(f.t, command{Stop: true})
	}
}

// drain waits until all that was sent has arrived, or never will. After what a
// queue held, and then after a message from every sender, nothing can come to a
// channel.
func (f *fleet) drain() {
	f.t.Helper()
	var client redis.UniversalClient
	queue := prefix + ":queue:normal-%d"
	if f.config.cluster != nil {
		everywhere := redis.NewClusterClient(&redis.ClusterOptions{Addrs: f.config.cluster.Addrs(), ClientName: ownName})
		defer everywhere.Close()
		client, queue = everywhere, prefix+":queue:{normal-%d}"
	} else {
		client = f.client()
	}
	empty := func() {
		for n := range normalChannels {
			require.Eventually(f.t, func() bool {
				size, err := client.ZCard(f.t.Context(), fmt.Sprintf(queue, n)).Result()
				return err == nil && size == 0
			}, recoveryTimeout, 10*time.Millisecond, "receivers wait, and normal-%d has messages", n)
		}
	}
	empty()
	since := time.Now()
	for _, p := range f.processes {
		p.ask(f.t, command{Round: true})
	}
	f.met(command{Since: since.UnixNano(), Direct: true})
	empty()
}

func (f *fleet) server() *redistest.Server {
	if f.config.sentinel != nil {
		return f.config.sentinel.Master()
	}
	return f.config.server
}

// finish closes everything, checks what is left behind, and returns the
// account of what was sent and received.
func (f *fleet) finish() *Account {
	t, h := f.t, &f.history
	h.Sends, h.Receipts = make([][]Send, senders), make([][]Receipt, len(h.Channels))
	for i, p := range f.processes {
		path := filepath.Join(t.TempDir(), "record")
		a := p.ask(t, command{Finish: path})
		if a.GoroutinesAfter > a.GoroutinesBefore {
			t.Errorf("process %d had %d goroutines before Open and has %d after Close:\n%s", i, a.GoroutinesBefore, a.GoroutinesAfter, a.Stacks)
		}
		f.read(i, path)
	}
	for _, client := range f.clients() {
		f.checkConnections(client)
		f.checkKeys(client)
	}
	for _, p := range f.processes {
		p.end(t)
	}
	return h.Account()
}

func (f *fleet) read(i int, path string) {
	file, err := os.Open(path)
	require.NoError(f.t, err)
	defer file.Close()
	var r record
	require.NoError(f.t, gob.NewDecoder(bufio.NewReader(file)).Decode(&r))
	for sender, sends := range r.Sends {
		f.history.Sends[sender] = sends
	}
	for channel, receipts := range r.Receipts {
		f.history.Receipts[channel] = receipts
	}
	for _, d := range r.Drops {
		d.Process = i
		f.history.Drops = append(f.history.Drops, d)
	}
	for _, g := range r.Gaps {
		g.Process = i
		f.history.Gaps = append(f.history.Gaps, g)
	}
	for text, n := range r.Errors {
		f.errors[text] += n
	}
	for _, text := range r.Broken {
		f.t.Errorf("process %d: %s", i, text)
	}
	f.slowest = max(f.slowest, r.Slowest)
}

// ownName is the name of the tests' own connections.
const ownName = "fault-suite"

// client returns a client of the server that is, or was last, the master.
func (f *fleet) client() *redis.Client { return f.clientOf(f.server()) }

func (f *fleet) clientOf(s *redistest.Server) *redis.Client {
	client := redis.NewClient(&redis.Options{Addr: s.Addr(), MaxRetries: -1, ClientName: ownName})
	f.t.Cleanup(func() { client.Close() })
	return client
}

// clients returns one of each server that has data.
func (f *fleet) clients() (all []*redis.Client) {
	if f.config.cluster == nil {
		return []*redis.Client{f.client()}
	}
	for _, node := range f.config.cluster.Nodes() {
		all = append(all, f.clientOf(node))
	}
	return all
}

// checkConnections checks that the processes, which still run, have none.
func (f *fleet) checkConnections(client *redis.Client) {
	var others []string
	ok := wait(5*time.Second, func() bool {
		list, err := client.Do(f.t.Context(), "CLIENT", "LIST", "TYPE", "normal").Text()
		others = slices.DeleteFunc(slices.Collect(strings.Lines(list)), func(line string) bool {
			return strings.Contains(line, "name="+ownName) || strings.Contains(line, "name=sentinel-") ||
				strings.Contains(line, "cmd=restore-asking") // of a node that moved a slot
		})
		return err == nil && len(others) == 0
	})
	if !ok {
		f.t.Errorf("all layers are closed, and there are connections:\n%s", strings.Join(others, ""))
	}
}

func (f *fleet) checkKeys(client *redis.Client) {
	var keys []string
	ok := wait(5*time.Second, func() bool {
		var err error
		keys, err = client.Keys(f.t.Context(), prefix+"*").Result()
		return err == nil && len(keys) == 0
	})
	if !ok {
		f.t.Errorf("all layers are closed, and there are keys at %s: %v", client.Options().Addr, keys)
	}
}

// wait waits for a condition, which is all that it proves.
func wait(most time.Duration, condition func() bool) bool {
	for deadline := time.Now().Add(most); !condition(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			return false
		}
	}
	return true
}

// errorLines describes errors of sends, the commonest first.
func (f *fleet) errorLines() (lines []string) {
	texts := slices.SortedFunc(maps.Keys(f.errors), func(a, b string) int { return f.errors[b] - f.errors[a] })
	for _, text := range texts[:min(6, len(texts))] {
		lines = append(lines, fmt.Sprintf("%6d x %s", f.errors[text], text))
	}
	return lines
}
