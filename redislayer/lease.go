package redislayer

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/channellayer/channellayer/redislayer/internal/lua"
)

// beat is one heartbeat.
func (s *session) beat(ctx context.Context, c *conn) error {
	if err := s.renew(ctx, c); err != nil {
		return err
	}
	s.l.queues.tellAll()
	if len(s.rewrite) == 0 {
		s.rewrite = slices.Collect(s.l.process.Groups().All())
		s.passed, s.passing = s.passing, time.Now()
	}
	n := min(len(s.rewrite), maxRewrite)
	batch := append(s.rewrite[:n:n], s.again...)
	s.rewrite, s.again = s.rewrite[n:], nil
	if err := s.writeBatches(ctx, c, batch); err != nil {
		return err
	}
	s.refusing = len(s.again) > 0
	if s.forgotten { // messages went to these groups, and not to this process
		s.forgotten = false
		s.l.gap(s.passed, time.Now(), "a group was lost")
	}
	return nil
}

// writeBatches writes groups, some at a time.
func (s *session) writeBatches(ctx context.Context, c *conn, groups []string) error {
	for batch := range slices.Chunk(groups, groupBatch) {
		refused, err := s.writeGroups(ctx, c, batch)
		if err != nil {
			s.soil(groups...)
			return err
		}
		s.refused(refused)
	}
	return nil
}

// refused keeps the groups that the server refused to write for the next
// heartbeat. The log is told of the first.
func (s *session) refused(groups map[string]error) {
	for group, err := range groups {
		s.again = append(s.again, group)
		if !s.refusing {
			s.refusing = true
			s.l.log.Warn("redis refused to write groups", "groups", len(groups), "one", group, "error", err)
		}
	}
}

// groupBatch is how many groups are written in one round trip, maxRewrite how
// many in one heartbeat only to make sure of them, and to renew their TTL.
const (
	groupBatch = 1000
	maxRewrite = 5000
)

// renew renews the lease. If the inbox is gone it makes another, above the
// position that the reader has reached. Whenever the server may have forgotten
// what this process had there, it then registers all groups and waiting
// receivers again, and reports the gap; if that fails, it is the first thing
// that the next call does.
func (s *session) renew(ctx context.Context, c *conn) error {
	l := s.l
	held := s.incarnation.Load()
	heldText := ""
	if held > 0 {
		heldText = strconv.FormatUint(held, 10)
	}
	s.attempts++ // never the same again, not even if the outcome is unknown
	read := l.reader.progress()
	asked := l.now()
	reply, err := c.script(ctx, leaseScript, []string{l.keys.inbox(l.name), l.keys.lease(l.name)},
		heldText, s.attempts, l.options.Lease.Milliseconds(), read.fetched.ms, read.fetched.seq, read.messages, read.bytes)
	if err != nil {
		return err
	}
	if s.replaced { // only now is it known that the inbox has its place there
		s.replaced = false
		s.lose("redis was restarted or replaced")
	}
	answered := l.now()
	made, seconds, micros := lua.Number(reply, 0), lua.Number(reply, 1), lua.Number(reply, 2)
	s.clock.Store(seconds*int64(time.Second) + micros*int64(time.Microsecond) - (asked+answered)/2)
	if made == 1 {
		last, _ := reply[3].(string)
		at, err := parsePosition([]byte(last))
		if err != nil {
			return err
		}
		if held > 0 {
			s.lose("the inbox was lost")
		}
		s.unregistered = true
		s.incarnation.Store(s.attempts)
		l.reader.restart(at)
		l.log.Info("made an inbox", "incarnation", s.attempts)
	}
	if s.unregistered {
		if err := s.raise(ctx, c, l.reader.progress()); err != nil {
			return err
		}
		if err := s.registerAll(ctx, c); err != nil {
			return err
		}
		s.unregistered = false
	}
	s.renewedAt.Store(answered)
	s.lastGood = time.Now()
	if s.lost != "" {
		reason := s.lost
		s.lost = ""
		l.gap(s.lostFrom, s.lastGood, reason)
	}
	l.reader.vouch()
	return nil
}

// lose takes note that messages may have been lost: those that came since the
// reader is known to have had all there was, and those that waited on a normal
// channel that receivers here take from.
func (s *session) lose(reason string) {
	from := s.l.queues.taken.OldestOfAll(s.lastGood, nil)
	if read := s.l.reader.readAllAt(); !read.IsZero() && read.Before(from) {
		from = read
	}
	if s.lost == "" {
		s.lostFrom = from
	}
	s.lost = reason
}

// raise makes sure that ids of new entries are above the reader's position,
// after the server may have been set back.
func (s *session) raise(ctx context.Context, c *conn, read progress) error {
	inbox := s.l.keys.inbox(s.l.name)
	info, err := c.XInfoStream(ctx, inbox).Result()
	if err != nil {
		return err
	}
	last, err := parsePosition([]byte(info.LastGeneratedID))
	if err != nil || !last.before(read.fetched) {
		return err
	}
	err = c.Do(ctx, "XSETID", inbox, read.fetched.String()).Err()
	if err != nil && strings.Contains(err.Error(), "smaller than") {
		return nil // an entry came in between, with an id above it
	}
	return err
}

// registerAll writes again all that this process has at Redis besides its
// inbox.
func (s *session) registerAll(ctx context.Context, c *conn) error {
	s.mu.Lock()
	clear(s.registered)
	s.mu.Unlock()
	if err := s.writeBatches(ctx, c, slices.Collect(s.l.process.Groups().All())); err != nil {
		return err
	}
	if err := s.writeNormalMembers(ctx, c); err != nil {
		return err
	}
	s.l.queues.tellAll()
	return nil
}

// leave removes what this process has at Redis. What Redis handed to receivers
// of normal channels here, and nobody took, goes back to the queues; the rest of
// the inbox is counted as dropped.
func (s *session) leave(ctx context.Context, c *conn) error {
	l := s.l
	member := processMember(l.name, strconv.FormatUint(s.incarnation.Load(), 10))
	s.mu.Lock()
	groups := slices.Collect(maps.Keys(s.registered))
	// An entry may be there although the last attempt to write it failed.
	groups = slices.AppendSeq(groups, maps.Keys(s.dirty))
	groups = append(groups, s.again...)
	s.mu.Unlock()
	if l.cluster != nil {
		l.cluster.writeEntries(groups, make([]bool, len(groups)), member)
		groups = nil
	}
	var cmds []redis.Cmder
	for _, group := range groups {
		cmds = append(cmds, redis.NewIntCmd(ctx, "ZREM", l.keys.group(group), member))
	}
	for _, channel := range l.queues.channels() {
		cmds = append(cmds, redis.NewIntCmd(ctx, "LREM", l.keys.waiting(channel), 0, l.name))
	}
	for batch := range slices.Chunk(cmds, groupBatch) {
		if _, err := c.Pipelined(ctx, func(p redis.Pipeliner) error {
			for _, cmd := range batch {
				p.Process(ctx, cmd)
			}
			return nil
		}); err != nil {
			return err
		}
	}
	if err := l.reader.finish(ctx, c); err != nil {
		return err
	}
	if err := s.runCalls(ctx, c, s.plan(l.queues.takeBack())); err != nil {
		return err
	}
	return c.Del(ctx, l.keys.inbox(l.name), l.keys.lease(l.name)).Err()
}
