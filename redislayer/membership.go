package redislayer

import (
	"context"
	"errors"
	"slices"
	"strconv"

	"github.com/redis/go-redis/v9"

	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/layer/process"
	"github.com/channellayer/channellayer/redislayer/internal/link"
)

// GroupAdd implements [layer.Layer]. For a channel of this process it needs
// Redis only for the first member that this process has in the group. For a
// channel of another process it asks that process, and waits for its answer.
// After an error, other than one about the names, the membership may have
// begun or not; adding again is right, and so is discarding.
func (l *Layer) GroupAdd(ctx context.Context, group, channel string) error {
	if err := l.process.Check(ctx, layer.ValidateGroup(group), layer.ValidateChannel(channel)); err != nil {
		return err
	}
	own := l.process.Owns(channel)
	if !own && layer.IsProcessSpecific(channel) {
		return l.requests.ask(ctx, process.Of(channel), request{what: askAdd, group: group, channel: channel})
	}
	if err := l.process.Join(group, channel); err != nil {
		return err
	}
	switch {
	case !own:
		return l.writeNormal(ctx, group, channel, true)
	case l.session.isRegistered(group):
		return nil
	}
	return l.session.do(ctx, &op{what: opGroupEntry, where: group})
}

// GroupDiscard implements [layer.Layer]. For a channel of this process it
// needs Redis only for the last member that this process has in the group, and
// does not fail if Redis is away: messages for the group then still come to
// this process, which drops them.
func (l *Layer) GroupDiscard(ctx context.Context, group, channel string) error {
	if err := l.process.Check(ctx, layer.ValidateGroup(group), layer.ValidateChannel(channel)); err != nil {
		return err
	}
	own := l.process.Owns(channel)
	if !own && layer.IsProcessSpecific(channel) {
		err := l.requests.ask(ctx, process.Of(channel), request{what: askDiscard, group: group, channel: channel})
		if errors.Is(err, layer.ErrChannelGone) {
			return nil // with its memberships
		}
		return err
	}
	last := l.process.Leave(group, channel)
	if !own {
		return l.writeNormal(ctx, group, channel, false)
	}
	if last {
		if err := l.session.do(ctx, &op{what: opGroupEntry, where: group}); err != nil {
			l.session.soil(group) // it is written later
		}
	}
	return nil
}

// writeNormal writes or removes the membership of a normal channel.
func (l *Layer) writeNormal(ctx context.Context, group, channel string, join bool) error {
	if l.cluster != nil {
		return l.cluster.do(ctx, &task{kind: taskNormal, where: group, name: channel, join: join})
	}
	if join {
		return l.session.do(ctx, &op{what: opJoin, where: group, name: channel})
	}
	return l.session.do(ctx, &op{what: opLeaveGroup, where: group, name: channel})
}

// isRegistered reports whether Redis knows that this process has members in
// the group, and is known to have known it lately.
func (s *session) isRegistered(group string) bool {
	if s.l.now()-s.renewedAt.Load() > int64(s.l.options.Lease/2) {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	_, dirty := s.dirty[group]
	return !dirty && s.registered[group] != 0 && s.registered[group] == s.incarnation.Load()
}

// joinCall writes or removes normal channels' memberships of one group.
func (s *session) joinCall(ops []*op) *call {
	args := []any{s.l.options.Limits.GroupExpiry.Milliseconds(), s.l.groupTTL().Milliseconds()}
	for _, o := range ops {
		what := "join"
		if o.what == opLeaveGroup {
			what = "leave"
		}
		args = append(args, what, normalMember(o.name))
	}
	return &call{ops: ops, apply: applyDone, request: s.request(memberScript, []string{s.l.keys.group(ops[0].where)}, args...)}
}

// writeNormalMembers writes the memberships of normal channels that were added
// here.
func (s *session) writeNormalMembers(ctx context.Context, c *conn) error {
	if s.l.cluster != nil {
		s.l.cluster.writeNormalMembers(slices.Collect(s.l.process.Adopted().All())...)
		return nil
	}
	var calls []*call
	for group := range s.l.process.Adopted().All() {
		var ops []*op
		for channel := range s.l.process.Adopted().Members(group) {
			ops = append(ops, &op{what: opJoin, where: group, name: channel})
		}
		if len(ops) > 0 {
			calls = append(calls, s.joinCall(ops))
		}
	}
	return s.runCalls(ctx, c, calls)
}

// writeGroups brings the groups' entries at Redis in line with what the
// process has: written where it has members, removed where it has none. All of
// it may be repeated. The error is that of the connection; a group that Redis
// refuses, as when its memory is full, is in refused, and is tried again with a
// later heartbeat.
func (s *session) writeGroups(ctx context.Context, c *conn, groups []string) (refused map[string]error, err error) {
	if len(groups) == 0 {
		return nil, nil
	}
	// Before looking at who is in the groups: whoever joins one from here on
	// finds that it is not registered, and has it written again.
	s.mu.Lock()
	incarnation := s.incarnation.Load()
	known := make([]bool, len(groups)) // there, as far as this process knows
	for i, group := range groups {
		known[i] = s.registered[group] == incarnation
		delete(s.registered, group)
	}
	s.mu.Unlock()
	member := processMember(s.l.name, strconv.FormatUint(incarnation, 10))
	present := make([]bool, len(groups))
	for i, group := range groups {
		present[i] = s.l.process.Groups().Len(group) > 0
	}
	var results []written
	if s.l.cluster != nil {
		results = s.l.cluster.writeEntries(groups, present, member)
	} else if results, err = s.writeEntries(ctx, c, groups, present, member); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, group := range groups {
		switch result := results[i]; {
		case result.err != nil:
			if refused == nil {
				refused = map[string]error{}
			}
			refused[group] = result.err
		case present[i]:
			s.registered[group] = incarnation
			if known[i] && result.added > 0 {
				s.forgotten = true
			}
		}
	}
	return refused, nil
}

// written is what became of a group's entry.
type written struct {
	added int64 // 1 if it was not there
	err   error // the server's
}

// writeEntries writes or removes the entry of a process in groups. The error is
// that of the connection.
func (s *session) writeEntries(ctx context.Context, c *conn, groups []string, join []bool, member string) ([]written, error) {
	writes := make([]*redis.IntCmd, len(groups))
	_, err := c.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, group := range groups {
			key := s.l.keys.group(group)
			if join[i] {
				writes[i] = p.ZAdd(ctx, key, redis.Z{Member: member})
				p.Do(ctx, "PEXPIRE", key, s.l.groupTTL().Milliseconds())
			} else {
				writes[i] = p.ZRem(ctx, key, member)
			}
		}
		return nil
	})
	if err != nil && (!link.IsReply(err) || link.StaleServer(err)) {
		return nil, err
	}
	results := make([]written, len(groups))
	for i, write := range writes {
		added, err := write.Result()
		if err != nil && (!link.IsReply(err) || link.StaleServer(err)) {
			return nil, err
		}
		results[i] = written{added, err}
	}
	return results, nil
}
