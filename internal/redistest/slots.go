package redistest

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
)

// Slot returns the slot of a key.
func (c *Cluster) Slot(tb testing.TB, key string) int {
	tb.Helper()
	running := c.running()
	if len(running) == 0 {
		tb.Fatal("redistest: no node is running")
	}
	slot, err := running[0].do(tb.Context(), "CLUSTER", "KEYSLOT", key).Int()
	if err != nil {
		tb.Fatalf("redistest: CLUSTER KEYSLOT %q: %v", key, err)
	}
	return slot
}

// Owner returns the running master that considers the slot its own.
func (c *Cluster) Owner(tb testing.TB, slot int) *Server {
	tb.Helper()
	owner, err := c.owner(tb.Context(), slot)
	if err != nil {
		tb.Fatalf("redistest: %v", err)
	}
	return owner
}

func (c *Cluster) owner(ctx context.Context, slot int) (*Server, error) {
	for _, node := range c.running() {
		lines, err := c.nodeLines(ctx, node)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", node.name, err)
		}
		if own := lines[c.ids[node]]; own.master == "-" && own.holds(slot) {
			return node, nil
		}
	}
	return nil, fmt.Errorf("no running node owns slot %d", slot)
}

func (l nodeLine) holds(slot int) bool {
	for _, part := range l.slots {
		from, to, isRange := strings.Cut(part, "-")
		if !isRange {
			to = from
		}
		first, _ := strconv.Atoi(from)
		last, _ := strconv.Atoi(to)
		if first <= slot && slot <= last {
			return true
		}
	}
	return false
}

// Replicas returns the running replicas of a running master.
func (c *Cluster) Replicas(tb testing.TB, master *Server) []*Server {
	tb.Helper()
	replicas, err := c.replicas(tb.Context(), master)
	if err != nil {
		tb.Fatalf("redistest: %v", err)
	}
	return replicas
}

func (c *Cluster) replicas(ctx context.Context, master *Server) ([]*Server, error) {
	lines, err := c.nodeLines(ctx, master)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", master.name, err)
	}
	var replicas []*Server
	for _, node := range c.running() {
		if lines[c.ids[node]].master == c.ids[master] {
			replicas = append(replicas, node)
		}
	}
	return replicas, nil
}

// KillMaster kills a master that has a replica and slots. It returns the replica
// that took its place, when all running nodes know that.
func (c *Cluster) KillMaster(tb testing.TB, master *Server) *Server {
	tb.Helper()
	promoted, err := c.killMaster(tb.Context(), master)
	if err != nil {
		tb.Fatalf("redistest: killing the master %s: %v", master.name, err)
	}
	return promoted
}

func (c *Cluster) killMaster(ctx context.Context, master *Server) (*Server, error) {
	replicas, err := c.replicas(ctx, master)
	if err != nil {
		return nil, err
	}
	if len(replicas) == 0 {
		return nil, errors.New("it has no running replica")
	}
	lines, err := c.nodeLines(ctx, master)
	if err != nil {
		return nil, err
	}
	own := lines[c.ids[master]]
	if own.master != "-" || len(own.slots) == 0 {
		return nil, errors.New("it is not a master with slots")
	}
	first, _, _ := strings.Cut(own.slots[0], "-")
	slot, err := strconv.Atoi(first)
	if err != nil {
		return nil, err
	}
	master.Kill()
	var promoted *Server
	err = await(ctx, func(ctx context.Context) (err error) {
		promoted, err = c.owner(ctx, slot)
		return err
	})
	if err != nil {
		return nil, err
	}
	return promoted, c.WaitOK(ctx)
}

// MoveSlot moves a slot with all its keys to a master, as resharding does, while
// clients go on. It returns when all running nodes know the new owner.
func (c *Cluster) MoveSlot(tb testing.TB, slot int, to *Server) {
	tb.Helper()
	c.BeginMoveSlot(tb, slot, to)()
}

// BeginMoveSlot begins to move a slot and leaves it half-way: its owner answers
// for keys that exist, and sends clients to the new one (ASK) for those that
// don't; a command with keys of both kinds gets TRYAGAIN. The function that it
// returns moves the keys and finishes as MoveSlot does.
func (c *Cluster) BeginMoveSlot(tb testing.TB, slot int, to *Server) (finish func()) {
	tb.Helper()
	from := c.Owner(tb, slot)
	if from == to {
		tb.Fatalf("redistest: %s already owns slot %d", to.name, slot)
	}
	err := to.do(tb.Context(), "CLUSTER", "SETSLOT", slot, "IMPORTING", c.ids[from]).Err()
	if err == nil {
		err = from.do(tb.Context(), "CLUSTER", "SETSLOT", slot, "MIGRATING", c.ids[to]).Err()
	}
	if err != nil {
		tb.Fatalf("redistest: beginning to move slot %d from %s to %s: %v", slot, from.name, to.name, err)
	}
	return func() {
		tb.Helper()
		err := c.finishMove(tb.Context(), slot, from, to)
		if err == nil {
			err = c.WaitOK(tb.Context())
		}
		if err != nil {
			tb.Fatalf("redistest: moving slot %d from %s to %s: %v", slot, from.name, to.name, err)
		}
	}
}

// MoveKeys moves keys from the owner of a slot to the node that the slot is on
// its way to: see BeginMoveSlot.
func (c *Cluster) MoveKeys(tb testing.TB, from, to *Server, keys ...string) {
	tb.Helper()
	if err := moveKeys(tb.Context(), from, to, keys); err != nil {
		tb.Fatalf("redistest: moving %q from %s to %s: %v", keys, from.name, to.name, err)
	}
}

func moveKeys(ctx context.Context, from, to *Server, keys []string) error {
	migrate := []any{"MIGRATE", "127.0.0.1", to.nodePort(), "", 0, readyTimeout.Milliseconds()}
	if password := to.config.Password; password != "" {
		migrate = append(migrate, "AUTH", password)
	}
	migrate = append(migrate, "KEYS")
	for _, key := range keys {
		migrate = append(migrate, key)
	}
	return from.do(ctx, migrate...).Err()
}

func (c *Cluster) finishMove(ctx context.Context, slot int, from, to *Server) error {
	for {
		keys, err := from.do(ctx, "CLUSTER", "GETKEYSINSLOT", slot, 100).StringSlice()
		if err != nil {
			return err
		}
		if len(keys) == 0 {
			break // for good: keys that don't exist are made at the other node
		}
		if err := moveKeys(ctx, from, to, keys); err != nil {
			return err
		}
	}
	// The new owner first: no moment without one. Then the old one, which would
	// otherwise learn it by gossip; and so the other masters.
	order := []*Server{to, from}
	for _, node := range c.running() {
		if node != to && node != from {
			order = append(order, node)
		}
	}
	for _, node := range order {
		lines, err := c.nodeLines(ctx, node)
		if err != nil {
			return fmt.Errorf("%s: %w", node.name, err)
		}
		if lines[c.ids[node]].master != "-" {
			continue // replicas follow their masters
		}
		if err := node.do(ctx, "CLUSTER", "SETSLOT", slot, "NODE", c.ids[to]).Err(); err != nil {
			return fmt.Errorf("%s: %w", node.name, err)
		}
	}
	return nil
}
