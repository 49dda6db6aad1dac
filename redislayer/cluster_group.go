package redislayer

import (
	"context"
	"strconv"
	"sync"
	"time"
)

// writeEntries writes or removes the entry of a process in groups, each at the
// group's node, and waits until that is done or has failed.
func (c *cluster) writeEntries(groups []string, join []bool, member string) []written {
	<-c.tried
	results := make([]written, len(groups))
	var all sync.WaitGroup
	all.Add(len(groups))
	for i, group := range groups {
		t := &task{kind: taskEntry, where: group, name: member, join: join[i]}
		t.then = func(t *task, reply any) {
			added, _ := reply.(int64)
			results[i] = written{added, t.err}
			all.Done()
		}
		if err := c.enqueue(t); err != nil {
			t.finish(err, false, nil)
		}
	}
	all.Wait()
	return results
}

// writeNormalMembers writes the memberships of normal channels that were added
// here. What fails is written again when its node is there again.
func (c *cluster) writeNormalMembers(groups ...string) {
	for _, group := range groups {
		for channel := range c.l.process.Adopted().Members(group) {
			c.enqueue(&task{kind: taskNormal, where: group, name: channel, join: true})
		}
	}
}

// tellAgain has everything written again that this process has at a node, which
// may be another than it was, or have been restarted.
func (c *cluster) tellAgain(addr string) {
	var groups []string
	for group := range c.l.process.Groups().All() {
		if c.isAt(group, addr) {
			groups = append(groups, group)
		}
	}
	c.l.session.soil(groups...)
	c.l.session.nudge()
	for group := range c.l.process.Adopted().All() {
		if c.isAt(group, addr) {
			c.writeNormalMembers(group)
		}
	}
	c.lines.tellAll()
}

func (c *cluster) isAt(tag, addr string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	at, err := c.addrLocked(tag)
	return err == nil && at == addr
}

// keyAt makes a key for checks at a node: tags are tried until one is there.
func (c *cluster) keyAt(addr string) (key string, ok bool) {
	for i := range 1000 {
		if tag := strconv.Itoa(i); c.isAt(tag, addr) {
			return c.l.keys.check(tag), true
		}
	}
	return "", false // it has next to nothing
}

// groupTTL is how long a group's key is kept after the last write.
func (l *Layer) groupTTL() time.Duration { return l.options.Limits.GroupExpiry + l.options.Lease }

// send sends a message to a channel of another process, or to a normal channel.
func (c *cluster) send(ctx context.Context, o *op) error {
	kind := taskPush
	if o.what == opSend {
		kind = taskSend
	}
	return c.do(ctx, &task{kind: kind, where: o.where, name: o.name, body: o.body})
}

// groupSend brings a message to the members of a group in other processes, and
// to the normal channels in it: who that is is read at the group's node.
func (c *cluster) groupSend(ctx context.Context, group string, body []byte) (err error, maybe bool) {
	return c.try(ctx, &task{kind: taskMembers, where: group, body: body})
}
