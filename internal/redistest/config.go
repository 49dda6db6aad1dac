package redistest

import (
	"fmt"
	"strconv"
)

// Config says how a Redis server runs. Its zero value is a server without
// persistence, password or memory limit.
type Config struct {
	// Program is the server's program. Default: redis-server. Valkey's
	// valkey-server works as well.
	Program string

	// AOF makes every acknowledged write survive Kill and Restart. (The file is
	// not synced: it need not survive the machine.)
	AOF bool

	// RDB makes the data survive Stop and Restart. After Kill, what the last
	// SAVE or BGSAVE wrote comes back: an older snapshot.
	RDB bool

	// MaxMemory is Redis's setting of that name, such as "8mb". Default: none.
	MaxMemory string

	// MaxMemoryPolicy is what happens at MaxMemory. Default: noeviction.
	MaxMemoryPolicy string

	// Password is required of the default user. Default: none.
	Password string

	// Users are ACL rules, such as "bus on >secret ~bus:* &* +@all".
	Users []string

	// TLS gives the server a second port, which speaks TLS; see Server.TLS. The
	// nodes of a cluster then speak TLS with each other, too.
	TLS bool

	// Extra are further lines of redis.conf. They come last, and so win.
	Extra []string

	sentinel bool // it is one; it has no data to configure
}

func (c Config) program() string {
	if c.Program == "" {
		return "redis-server"
	}
	return c.Program
}

// lines returns the redis.conf for a server with this port and data directory.
func (c Config) lines(port int, dir string) []string {
	lines := []string{
		"bind 127.0.0.1",
		fmt.Sprintf("port %d", port),
		"dir " + strconv.Quote(dir),
	}
	if c.sentinel {
		return append(lines, c.Extra...)
	}
	lines = append(lines,
		// By default a master waits five seconds for further replicas before it
		// sends its data.
		"repl-diskless-sync-delay 0",
	)
	if c.RDB {
		// A save point, however far off, is what makes SIGTERM save.
		lines = append(lines, "save 3600 1")
	} else {
		lines = append(lines, `save ""`)
	}
	if c.AOF {
		// "no" means: written before the reply, synced whenever the system
		// likes. "everysec" may hold a write back behind a running sync.
		lines = append(lines, "appendonly yes", "appendfsync no")
	}
	if c.MaxMemory != "" {
		lines = append(lines, "maxmemory "+c.MaxMemory)
	}
	if c.MaxMemoryPolicy != "" {
		lines = append(lines, "maxmemory-policy "+c.MaxMemoryPolicy)
	}
	if c.Password != "" {
		lines = append(lines, "requirepass "+strconv.Quote(c.Password), "masterauth "+strconv.Quote(c.Password))
	}
	for _, user := range c.Users {
		lines = append(lines, "user "+user)
	}
	return append(lines, c.Extra...)
}
