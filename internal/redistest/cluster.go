package redistest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/channellayer/channellayer/internal/testneed"
)

// slots is how many hash slots a Redis cluster has.
const slots = 16384

// ClusterConfig says how a cluster runs.
type ClusterConfig struct {
	// Redis is the configuration of every node.
	Redis Config

	// Masters is how many nodes share the slots. Default: 3, the fewest of which
	// a majority survives the loss of one.
	Masters int

	// Replicas is how many replicas each of the masters has. Default: none.
	Replicas int

	// NodeTimeout is how long a node must not answer to be down for another.
	// Default: 1 second.
	NodeTimeout time.Duration
}

// Cluster is a Redis cluster. Its nodes can be killed, paused and restarted as
// single servers; see Nodes.
type Cluster struct {
	nodes []*Server // masters first
	ids   map[*Server]string
}

// StartCluster starts a cluster whose slots are spread evenly. It returns when
// every node considers the cluster well and every replica is in step. (Redis
// itself lets two seconds pass before a master of a new cluster takes commands.)
// All nodes are killed when the test ends.
func StartCluster(tb testing.TB, config ClusterConfig) *Cluster {
	tb.Helper()
	testneed.Programs(tb, config.Redis.program(), "sh")
	if config.Masters == 0 {
		config.Masters = 3
	}
	if config.NodeTimeout == 0 {
		config.NodeTimeout = time.Second
	}
	c := &Cluster{ids: make(map[*Server]string)}
	box := newSandbox(tb)
	if err := c.launch(tb, box, config); err != nil {
		tb.Fatalf("redistest: %v", err)
	}
	if err := c.join(context.Background(), config); err != nil {
		tb.Fatalf("redistest: forming the cluster: %v", err)
	}
	if err := c.WaitOK(context.Background()); err != nil {
		tb.Fatalf("redistest: %v", err)
	}
	return c
}

// launch starts the nodes, strangers to each other as yet, all at once.
func (c *Cluster) launch(tb testing.TB, box *sandbox, config ClusterConfig) error {
	node := config.Redis
	node.Extra = append([]string{
		"cluster-enabled yes",
		// Beside the data, not in it: RestartEmpty must not remove it.
		"cluster-config-file ../nodes.conf",
		fmt.Sprintf("cluster-node-timeout %d", config.NodeTimeout.Milliseconds()),
		// Promote a replica however long it had no link to its master.
		"cluster-replica-validity-factor 0",
	}, node.Extra...)
	if config.Redis.TLS {
		node.Extra = append([]string{"tls-cluster yes", "tls-replication yes"}, node.Extra...)
	}
	c.nodes = make([]*Server, config.Masters*(1+config.Replicas))
	errs := make([]error, len(c.nodes))
	var wg sync.WaitGroup
	for i := range c.nodes {
		wg.Go(func() {
			c.nodes[i], errs[i] = box.launch(tb, fmt.Sprintf("node-%d", i), node)
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// join makes the nodes a cluster: masters with slots, replicas of masters.
func (c *Cluster) join(ctx context.Context, config ClusterConfig) error {
	if err := c.spread(ctx, config.Masters); err != nil {
		return err
	}
	if err := c.introduce(ctx); err != nil {
		return err
	}
	for i, replica := range c.nodes[config.Masters:] {
		master := c.nodes[i%config.Masters]
		if err := replica.do(ctx, "CLUSTER", "REPLICATE", c.ids[master]).Err(); err != nil {
			return fmt.Errorf("%s, as a replica of %s: %w", replica.name, master.name, err)
		}
	}
	return nil
}

// spread gives the masters their slots, each at an epoch of its own.
func (c *Cluster) spread(ctx context.Context, masters int) error {
	for i, node := range c.nodes {
		id, err := node.do(ctx, "CLUSTER", "MYID").Text()
		if err != nil {
			return fmt.Errorf("%s: %w", node.name, err)
		}
		c.ids[node] = id
		if i >= masters {
			continue
		}
		// One command for all slots; ADDSLOTSRANGE needs Redis 7.
		assign := []any{"CLUSTER", "ADDSLOTS"}
		for slot := i * slots / masters; slot < (i+1)*slots/masters; slot++ {
			assign = append(assign, slot)
		}
		if err := node.do(ctx, assign...).Err(); err != nil {
			return fmt.Errorf("%s: %w", node.name, err)
		}
		if err := node.do(ctx, "CLUSTER", "SET-CONFIG-EPOCH", i+1).Err(); err != nil {
			return fmt.Errorf("%s: %w", node.name, err)
		}
	}
	return nil
}

// introduce makes every node known to every other one: gossip alone takes
// seconds. A node that does not get through with MEET within the node timeout,
// because the other one waits for a slow disk or for its turn, gives up without
// a word; and if everyone has given up on a node, nobody is left who could tell
// of it. So whoever is not known yet is introduced again.
func (c *Cluster) introduce(ctx context.Context) error {
	const again = 500 * time.Millisecond
	var last time.Time
	return awaitEvery(ctx, askInterval, func(ctx context.Context) error {
		meet := time.Since(last) >= again
		if meet {
			last = time.Now()
		}
		var known []map[string]nodeLine
		var strangers []error
		for j, other := range c.nodes {
			lines, err := c.nodeLines(ctx, other)
			if err != nil {
				return fmt.Errorf("%s: %w", other.name, err)
			}
			known = append(known, lines)
			for i, node := range c.nodes[:j] {
				if knows(known[i], c.ids[other]) && knows(lines, c.ids[node]) {
					continue
				}
				strangers = append(strangers, fmt.Errorf("%s and %s do not know each other", node.name, other.name))
				if !meet {
					continue
				}
				if err := node.do(ctx, "CLUSTER", "MEET", "127.0.0.1", other.nodePort()).Err(); err != nil {
					return fmt.Errorf("%s: %w", node.name, err)
				}
			}
		}
		return errors.Join(strangers...)
	})
}

// knows reports whether a node is among those that another one knows by their
// ids; until they have met it has another.
func knows(lines map[string]nodeLine, id string) bool {
	_, ok := lines[id]
	return ok
}

// askInterval is how often all nodes are asked how they see the cluster.
const askInterval = 50 * time.Millisecond

// WaitOK waits until every running node considers the cluster well, knows all
// nodes and agrees with the others about who owns which slots, and every running
// replica is in step with its master. It ends with ctx, after 30 seconds at the
// latest.
func (c *Cluster) WaitOK(ctx context.Context) error {
	err := awaitEvery(ctx, askInterval, func(ctx context.Context) error {
		var first string
		for _, node := range c.running() {
			view, err := c.view(ctx, node)
			if err != nil {
				return fmt.Errorf("%s: %w", node.name, err)
			}
			if first == "" {
				first = view
			}
			if view != first {
				return fmt.Errorf("nodes disagree: %s sees\n%s\nand %s sees\n%s", c.running()[0].name, first, node.name, view)
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("waiting for the cluster to be well: %w", err)
	}
	return nil
}

// view returns who owns what as this node sees it, and an error if it is not
// well or, being a replica, out of step.
func (c *Cluster) view(ctx context.Context, node *Server) (string, error) {
	text, err := node.do(ctx, "CLUSTER", "INFO").Text()
	if err != nil {
		return "", err
	}
	info := fields(text)
	if info["cluster_state"] != "ok" || info["cluster_known_nodes"] != fmt.Sprint(len(c.nodes)) {
		return "", fmt.Errorf("CLUSTER INFO: state %s, known nodes %s", info["cluster_state"], info["cluster_known_nodes"])
	}
	replication, err := node.info(ctx, "replication")
	if err != nil {
		return "", err
	}
	if replication["role"] == "slave" && replication["master_link_status"] != "up" {
		return "", fmt.Errorf("its link to its master is %s", replication["master_link_status"])
	}
	lines, err := c.nodeLines(ctx, node)
	if err != nil {
		return "", err
	}
	var view strings.Builder
	for _, other := range c.nodes {
		line, ok := lines[c.ids[other]]
		if !ok {
			return "", fmt.Errorf("it does not know %s", other.name)
		}
		if other.PID() == 0 {
			continue // what is said of a dead node differs for a while, and is of no use
		}
		role := "master"
		if line.master != "-" {
			role = "replica of " + line.master
		}
		fmt.Fprintf(&view, "%s: %s, slots %v\n", other.name, role, line.slots)
	}
	return view.String(), nil
}

// nodeLine is what a line of CLUSTER NODES says of a node.
type nodeLine struct {
	master string   // the id of the master of a replica, "-" for a master
	slots  []string // such as 0-5460; without those that are being moved
}

// nodeLines asks a node about all nodes, by their ids.
func (c *Cluster) nodeLines(ctx context.Context, node *Server) (map[string]nodeLine, error) {
	text, err := node.do(ctx, "CLUSTER", "NODES").Text()
	if err != nil {
		return nil, err
	}
	lines := make(map[string]nodeLine)
	for line := range strings.Lines(text) {
		// id address flags master ping-sent pong-received epoch link slots...
		words := strings.Fields(line)
		if len(words) < 8 {
			return nil, fmt.Errorf("CLUSTER NODES says %q", line)
		}
		parsed := nodeLine{master: words[3]}
		for _, word := range words[8:] {
			if !strings.HasPrefix(word, "[") {
				parsed.slots = append(parsed.slots, word)
			}
		}
		lines[words[0]] = parsed
	}
	return lines, nil
}

// Nodes returns all nodes: first those that began as masters, in the order of
// their slots, then the replicas, in the order of their masters.
func (c *Cluster) Nodes() []*Server { return append([]*Server(nil), c.nodes...) }

func (c *Cluster) running() []*Server {
	var running []*Server
	for _, node := range c.nodes {
		if node.PID() != 0 {
			running = append(running, node)
		}
	}
	return running
}

// Addrs returns the host:port of every node.
func (c *Cluster) Addrs() []string {
	var addrs []string
	for _, node := range c.nodes {
		addrs = append(addrs, node.Addr())
	}
	return addrs
}

// Client returns a new client of the cluster that repeats nothing, but follows
// redirections, which go-redis counts as its MaxRedirects. It is closed when tb
// ends.
func (c *Cluster) Client(tb testing.TB) *redis.ClusterClient {
	tb.Helper()
	client := redis.NewClusterClient(&redis.ClusterOptions{
		Addrs:      c.Addrs(),
		Password:   c.nodes[0].config.Password,
		MaxRetries: -1,
		// Redis has none; and for each node there would be a goroutine that
		// outlives the client by a while.
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	})
	tb.Cleanup(func() { client.Close() })
	return client
}
