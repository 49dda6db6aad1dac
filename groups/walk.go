package groups

import "iter"

// Members walks over the channels in the group, in the order in which they
// joined. Each use of the iterator is a walk of its own, over the group as it
// is when the loop begins:
//
//   - A channel that is a member from before the loop begins until it ends is
//     visited exactly once.
//   - No channel is visited twice, even if it is discarded and added meanwhile.
//   - A channel that is added or discarded meanwhile may be visited or not.
//   - A channel whose Discard returned, or whose membership expired, before
//     the loop begins is not visited.
//
// The walk copies nothing, allocates nothing and holds no lock while the loop
// body runs. The body may call any method and may break out. As long as it
// runs, memory of members who left meanwhile is retained.
func (g *Groups) Members(group string) iter.Seq[string] {
	return func(yield func(channel string) bool) {
		for channel := range g.MembersWith(group) {
			if !yield(channel) {
				return
			}
		}
	}
}

// MembersWith walks as [Groups.Members] does, and shows beside each channel the
// value that its membership was begun with ([Groups.AddWith]): nil if that was
// Add.
func (g *Groups) MembersWith(group string) iter.Seq2[string, any] {
	return func(yield func(channel string, value any) bool) {
		members := g.groupShard(group).walk(group)
		if len(members) == 0 {
			return
		}
		now := g.now()
		for _, m := range members {
			if m.until.Load() > now && !yield(m.channel, m.value) {
				return
			}
		}
	}
}

// Has reports whether the channel is a member of the group now.
func (g *Groups) Has(group, channel string) bool {
	cs, gs := g.channelShard(channel), g.groupShard(group)
	cs.mu.Lock()
	defer cs.mu.Unlock()
	gs.mu.RLock()
	gr := gs.groups.get(group)
	gs.mu.RUnlock()
	m := cs.membershipLocked(channel, gr)
	return m != nil && m.until.Load() > g.now()
}

// GroupsOf returns the names of the groups that the channel is in, in no
// order. The caller owns the slice.
func (g *Groups) GroupsOf(channel string) []string {
	return g.groupsOf(channel, g.now())
}

// groupsOf returns the groups in which the channel's membership expires after
// now.
func (g *Groups) groupsOf(channel string, now int64) []string {
	s := g.channelShard(channel)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.groupsLocked(channel, now)
}

// All walks over the names of the groups that are not empty, in no order. As
// Add and Discard see it, that includes a group whose members have all expired
// but were not swept. A group that is there from before the loop begins until
// it ends is visited exactly once; one that is filled or emptied meanwhile
// may be visited or not, but not twice.
//
// No lock is held while the loop body runs; it may call any method and may
// break out.
func (g *Groups) All() iter.Seq[string] {
	return func(yield func(group string) bool) {
		for i := range g.groups {
			for _, w := range g.groups[i].walks() {
				if !yield(w.group) {
					return
				}
			}
		}
	}
}

// Len returns how many memberships the group has. Expired ones count until
// they are swept, so Len(group) > 0 is the state that Add, Discard,
// DiscardChannel and Sweep report changes of.
func (g *Groups) Len(group string) int {
	s := g.groupShard(group)
	s.mu.RLock()
	defer s.mu.RUnlock()
	if gr := s.groups.get(group); gr != nil {
		return int(gr.size)
	}
	return 0
}

// Count returns how many groups and how many memberships there are, counting
// expired ones until they are swept. It visits every group, for metrics that
// are read now and then.
func (g *Groups) Count() (groups, memberships int) {
	for i := range g.groups {
		s := &g.groups[i]
		s.mu.RLock()
		groups += s.groups.len()
		for _, gr := range s.groups.entries {
			memberships += int(gr.size)
		}
		s.mu.RUnlock()
	}
	return groups, memberships
}
