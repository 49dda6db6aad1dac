package channelsredis

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/channellayer/channellayer/groups"
	"github.com/channellayer/channellayer/redislayer/channelsredis/internal/redisconn"
)

// remember takes note of a membership that begins here, and when.
func (c *Core) remember(group, channel string) {
	if !c.process.Owns(channel) {
		c.others.add(group, channel, c.now())
		return
	}
	c.added.Discard(group, channel) // AddWith keeps the value of one that is there
	c.added.AddWith(group, channel, c.now())
}

func (c *Core) forget(group, channel string) {
	if c.process.Owns(channel) {
		c.added.Discard(group, channel)
	} else {
		c.others.discard(group, channel)
	}
}

// others are the memberships of other channels that began here: nobody tells
// when they end elsewhere, so there is a bound.
type others struct {
	groups *groups.Groups

	mu    sync.Mutex // of what changes them
	count int        // no fewer than there are: those that expire count until they are swept
}

// maxOthers is how many are remembered at a time.
const maxOthers = 100_000

// add remembers a membership, if it is there already, or there is room.
func (o *others) add(group, channel string, now int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.groups.Has(group, channel) {
		if o.count >= maxOthers {
			return
		}
		o.count++
	}
	o.groups.Discard(group, channel) // see remember
	o.groups.AddWith(group, channel, now)
}

func (o *others) discard(group, channel string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.groups.Has(group, channel) {
		o.count--
	}
	o.groups.Discard(group, channel)
}

// sweep gives back the places of those that have expired.
func (o *others) sweep() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.groups.Sweep()
	_, o.count = o.groups.Count()
}

// remembered are the memberships of a group that began here, as ZADD takes
// them.
type remembered struct {
	key         string
	own, others []redis.Z
	kept        redis.Cmder // asks whether the server still has them
}

const (
	restoreBatch   = 1000 // how many members are written at once
	restoreSamples = 100  // of how many of a group's own members the server is asked
)

// restore writes the memberships that began here to a server that was restarted
// or replaced, with the times when they began. Those of this process's channels
// are always written. Other channels may have left their groups meanwhile: they
// are written only where the server has lost the group, or all that it is asked
// of this process's members in it.
func (w *writer) restore(ctx context.Context, conn *redisconn.Conn) error {
	groups := w.remembered()
	for batch := range slices.Chunk(groups, restoreBatch) {
		if err := restoreCalls(ctx, conn, func(p redis.Pipeliner) {
			for _, g := range batch {
				if len(g.own) == 0 {
					g.kept = p.Exists(ctx, g.key)
				} else {
					g.kept = p.ZMScore(ctx, g.key, sample(g.own)...)
				}
			}
		}); err != nil {
			return err
		}
	}
	ttl := time.Duration(w.c.groupTTL()) * time.Millisecond
	for batch := range slices.Chunk(groups, restoreBatch) {
		if err := restoreCalls(ctx, conn, func(p redis.Pipeliner) {
			for _, g := range batch {
				members := g.own
				if g.lost() {
					members = append(members, g.others...)
				}
				for some := range slices.Chunk(members, restoreBatch) {
					p.ZAddGT(ctx, g.key, some...)
				}
				if len(members) > 0 {
					p.PExpire(ctx, g.key, ttl)
				}
			}
		}); err != nil {
			return err
		}
	}
	return nil
}

// restoreCalls makes calls in one round trip. That a key holds something else
// is an error of those who use it.
func restoreCalls(ctx context.Context, conn *redisconn.Conn, add func(redis.Pipeliner)) error {
	calls, _ := conn.Pipelined(ctx, func(p redis.Pipeliner) error { // each call has its own error
		add(p)
		return nil
	})
	for _, call := range calls {
		if err := call.Err(); err != nil && !isWrongType(err) {
			return err
		}
	}
	return nil
}

// isWrongType reports whether the server says, of a command or of one in a
// script, that the key holds something else.
func isWrongType(err error) bool { return err != nil && strings.Contains(err.Error(), "WRONGTYPE") }

// remembered returns the memberships that began here in the groups at this
// host.
func (w *writer) remembered() (list []*remembered) {
	members := func(from *groups.Groups, group string) (list []redis.Z) {
		for channel, began := range from.MembersWith(group) {
			at, _ := began.(int64)
			list = append(list, redis.Z{Score: float64(at+w.clock.Load()) / float64(time.Second), Member: channel})
		}
		return list
	}
	for group := range w.c.added.All() {
		if w.c.hostOf(group).writer == w {
			list = append(list, &remembered{key: w.c.groupKey(group), own: members(w.c.added, group), others: members(w.c.others.groups, group)})
		}
	}
	for group := range w.c.others.groups.All() {
		if w.c.hostOf(group).writer == w && w.c.added.Len(group) == 0 {
			list = append(list, &remembered{key: w.c.groupKey(group), others: members(w.c.others.groups, group)})
		}
	}
	return list
}

func sample(members []redis.Z) (names []string) {
	for _, z := range members[:min(len(members), restoreSamples)] {
		names = append(names, fmt.Sprint(z.Member))
	}
	return names
}

// lost reports whether the server has lost the group.
func (g *remembered) lost() bool {
	switch kept := g.kept.(type) {
	case *redis.IntCmd:
		return kept.Val() == 0
	case *redis.FloatSliceCmd:
		return kept.Err() == nil && !slices.ContainsFunc(kept.Val(), func(score float64) bool { return score > 0 })
	}
	return false
}
