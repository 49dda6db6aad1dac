package redistest

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/channellayer/channellayer/internal/testneed"
)

// SentinelConfig says how a master, its replica and their sentinels run.
type SentinelConfig struct {
	// Redis is the configuration of master and replica.
	Redis Config

	// DownAfter is how long a server must not answer to be down for a sentinel.
	// Default: 1 second.
	DownAfter time.Duration

	// FailoverTimeout is Sentinel's failover-timeout; a failover that came to
	// nothing is tried again after twice that. Default: 3 seconds.
	FailoverTimeout time.Duration
}

// Sentinel is a master and its replica, watched by three sentinels of which two
// must agree.
type Sentinel struct {
	tb        testing.TB
	servers   [2]*Server
	sentinels []*Server

	mu     sync.Mutex
	master *Server // as last agreed upon
}

const (
	masterName = "bus"

	// The replica uses an account of its own, which LagReplica takes away.
	replicationUser     = "replication"
	replicationPassword = "replication"
	replicationRules    = "on >" + replicationPassword + " +psync +replconf +ping"
)

// StartSentinel starts a master, a replica and three sentinels. It returns when
// the replica is in step and every sentinel knows all the others; a failover is
// possible from then on. All are killed when the test ends.
func StartSentinel(tb testing.TB, config SentinelConfig) *Sentinel {
	tb.Helper()
	testneed.Programs(tb, config.Redis.program(), "sh")
	if config.DownAfter == 0 {
		config.DownAfter = time.Second
	}
	if config.FailoverTimeout == 0 {
		config.FailoverTimeout = 3 * time.Second
	}
	s := &Sentinel{tb: tb}
	if err := s.start(newSandbox(tb), config); err != nil {
		tb.Fatalf("redistest: %v", err)
	}
	return s
}

func (s *Sentinel) start(box *sandbox, config SentinelConfig) (err error) {
	server := config.Redis
	server.Users = append([]string{replicationUser + " " + replicationRules}, server.Users...)
	server.Extra = append([]string{
		"masteruser " + replicationUser, "masterauth " + replicationPassword,
		// Otherwise a new replica gets nothing until its next report, up to a second later.
		"repl-diskless-sync no",
	}, server.Extra...)
	if s.servers[0], err = box.launch(s.tb, "master", server); err != nil {
		return err
	}
	s.master = s.servers[0]
	server.Extra = append(server.Extra, fmt.Sprintf("replicaof 127.0.0.1 %d", s.master.port))
	if s.servers[1], err = box.launch(s.tb, "replica", server); err != nil {
		return err
	}
	if err := s.awaitLink("up"); err != nil {
		return err
	}
	if err := s.awaitWrite(); err != nil {
		return err
	}

	watch := Config{Program: config.Redis.Program, Extra: []string{
		fmt.Sprintf("sentinel monitor %s 127.0.0.1 %d 2", masterName, s.master.port),
		fmt.Sprintf("sentinel down-after-milliseconds %s %d", masterName, config.DownAfter.Milliseconds()),
		fmt.Sprintf("sentinel failover-timeout %s %d", masterName, config.FailoverTimeout.Milliseconds()),
	}}
	if config.Redis.Password != "" {
		watch.Extra = append(watch.Extra, "sentinel auth-pass "+masterName+" "+strconv.Quote(config.Redis.Password))
	}
	watch.sentinel = true
	for i := range 3 {
		sentinel, err := box.launch(s.tb, fmt.Sprintf("sentinel-%d", i), watch, "--sentinel")
		if err != nil {
			return err
		}
		s.sentinels = append(s.sentinels, sentinel)
		// Sentinels find each other by what they publish, every two seconds by
		// default, and learn what a server that came back takes itself for by
		// INFO, every ten. Redis 6.2 can't be hurried, and refuses; it is only slower.
		sentinel.do(context.Background(), "SENTINEL", "DEBUG", "publish-period", "100", "info-period", "500")
	}
	return await(context.Background(), func(ctx context.Context) error {
		for _, sentinel := range s.sentinels {
			master, err := sentinel.do(ctx, "SENTINEL", "MASTER", masterName).Result()
			if err != nil {
				return fmt.Errorf("%s: %w", sentinel.name, err)
			}
			known := stringMap(master)
			if known["flags"] != "master" || known["num-slaves"] != "1" || known["num-other-sentinels"] != "2" {
				return fmt.Errorf("%s knows of the master: %v", sentinel.name, known)
			}
			if err := sentinel.do(ctx, "SENTINEL", "CKQUORUM", masterName).Err(); err != nil {
				return fmt.Errorf("%s: %w", sentinel.name, err)
			}
		}
		return nil
	})
}

// stringMap reads a map that go-redis decoded from RESP 3, or RESP 2's list.
func stringMap(reply any) map[string]string {
	fields := make(map[string]string)
	switch reply := reply.(type) {
	case map[any]any:
		for name, value := range reply {
			fields[fmt.Sprint(name)] = fmt.Sprint(value)
		}
	case []any:
		for i := 0; i+1 < len(reply); i += 2 {
			fields[fmt.Sprint(reply[i])] = fmt.Sprint(reply[i+1])
		}
	}
	return fields
}

// MasterName returns the name by which sentinels know the master.
func (s *Sentinel) MasterName() string { return masterName }

// Sentinels returns the sentinels, which can be killed and paused like servers.
func (s *Sentinel) Sentinels() []*Server { return append([]*Server(nil), s.sentinels...) }

// SentinelAddrs returns the host:port of every sentinel.
func (s *Sentinel) SentinelAddrs() []string {
	var addrs []string
	for _, sentinel := range s.sentinels {
		addrs = append(addrs, sentinel.Addr())
	}
	return addrs
}

// Client returns a new client that asks the sentinels for the master and repeats
// nothing. It is closed when tb ends.
func (s *Sentinel) Client(tb testing.TB) *redis.Client {
	tb.Helper()
	client := redis.NewFailoverClient(&redis.FailoverOptions{
		MasterName:    masterName,
		SentinelAddrs: s.SentinelAddrs(),
		Password:      s.servers[0].config.Password,
		MaxRetries:    -1,
	})
	tb.Cleanup(func() { client.Close() })
	return client
}

// Master returns the first master, or the one that the last WaitPromoted found.
func (s *Sentinel) Master() *Server {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.master
}

// Replica returns the server that Master does not return.
func (s *Sentinel) Replica() *Server {
	if s.Master() == s.servers[0] {
		return s.servers[1]
	}
	return s.servers[0]
}

// LagReplica makes the replica lose its master: it keeps what it has, answers
// sentinels, and can be promoted, but gets no write from now on. So what is
// written between LagReplica and KillMaster is lost by the failover. It must be
// killed within ten times DownAfter; a replica without its master for longer is
// not promoted.
//
// (Pausing the replica would not do: the kernel keeps for it what the master
// sent.)
func (s *Sentinel) LagReplica(tb testing.TB) {
	tb.Helper()
	err := s.Master().do(tb.Context(), "ACL", "DELUSER", replicationUser).Err()
	if err == nil {
		err = s.awaitLink("down")
	}
	if err != nil {
		tb.Fatalf("redistest: cutting the replica off: %v", err)
	}
}

// CatchUpReplica ends LagReplica; it returns when the replica is in step again.
func (s *Sentinel) CatchUpReplica(tb testing.TB) {
	tb.Helper()
	args := []any{"ACL", "SETUSER", replicationUser, "on", ">" + replicationPassword, "+psync", "+replconf", "+ping"}
	err := s.Master().do(tb.Context(), args...).Err()
	if err == nil {
		err = s.awaitLink("up")
	}
	if err != nil {
		tb.Fatalf("redistest: letting the replica catch up: %v", err)
	}
}

// awaitLink waits for the state of the replica's link to its master.
func (s *Sentinel) awaitLink(want string) error {
	replica := s.Replica()
	return await(context.Background(), func(ctx context.Context) error {
		info, err := replica.info(ctx, "replication")
		if err == nil && info["master_link_status"] != want {
			err = fmt.Errorf("the replica's link to its master is not %s: %v", want, info)
		}
		return err
	})
}

// awaitWrite waits until what is written to the master reaches the replica, which
// that its link is up does not say.
func (s *Sentinel) awaitWrite() error {
	const key = "redistest"
	ctx := context.Background()
	if err := s.Master().do(ctx, "SET", key, "").Err(); err != nil {
		return err
	}
	if err := await(ctx, func(ctx context.Context) error { return s.Replica().do(ctx, "GET", key).Err() }); err != nil {
		return fmt.Errorf("the replica does not get what is written: %w", err)
	}
	return s.Master().do(ctx, "DEL", key).Err()
}

// KillMaster kills the master; see WaitPromoted for what follows.
func (s *Sentinel) KillMaster() { s.Master().Kill() }

// Failover asks a sentinel to promote the replica although the master is well.
// The old master becomes a replica of it. See WaitPromoted for what follows.
func (s *Sentinel) Failover(tb testing.TB) {
	tb.Helper()
	if err := s.sentinels[0].do(tb.Context(), "SENTINEL", "FAILOVER", masterName).Err(); err != nil {
		tb.Fatalf("redistest: SENTINEL FAILOVER: %v", err)
	}
}

// WaitPromoted waits until every running sentinel names another master than
// Master, and that one knows it; it is Master from then on. The wait ends with
// ctx, after 30 seconds at the latest.
func (s *Sentinel) WaitPromoted(ctx context.Context) (*Server, error) {
	promoted := s.Replica()
	err := await(ctx, func(ctx context.Context) error {
		asked := 0
		for _, sentinel := range s.sentinels {
			if sentinel.PID() == 0 {
				continue
			}
			asked++
			addr, err := sentinel.do(ctx, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", masterName).StringSlice()
			if err != nil {
				return fmt.Errorf("%s: %w", sentinel.name, err)
			}
			if len(addr) != 2 || addr[1] != strconv.Itoa(promoted.port) {
				return fmt.Errorf("%s says that the master is %v", sentinel.name, addr)
			}
		}
		if asked == 0 {
			return final{errors.New("no sentinel is running")}
		}
		info, err := promoted.info(ctx, "replication")
		if err == nil && info["role"] != "master" {
			err = fmt.Errorf("%s says that its role is %s", promoted.name, info["role"])
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("waiting for %s to be promoted: %w", promoted.name, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.master = promoted
	return promoted, nil
}
