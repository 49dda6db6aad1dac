package groups

import (
	"sync"
	"sync/atomic"
)

// groupShard holds some of the groups: those that have members.
type groupShard struct {
	mu     sync.RWMutex
	groups table[string, *group]
}

// group is guarded by the lock of its shard.
type group struct {
	name string

	// members is in order of joining. It only ever grows, or is replaced: so
	// a walk can go over a copy of the slice header without a lock, and meets
	// nobody twice. Those who left stay in it, marked, until there are more of
	// them than of the others.
	members []*member

	size       int32 // how many of members are not discarded
	compacting bool
}

// member is one membership. One that was discarded never comes back: the
// channel joins again as another member, which walks under way do not see.
type member struct {
	channel string
	value   any
	group   *group
	until   atomic.Int64 // when it expires, or discarded

	next *member // of the same channel; guarded by the lock of its shard
}

// discarded is what until says of a member who left. It is in the past.
const discarded = 0

// groupLocked returns the group of that name, which the caller gives a member
// if it is new.
func (s *groupShard) groupLocked(name string) *group {
	gr := s.groups.get(name)
	if gr == nil {
		gr = &group{name: name}
		s.groups.put(name, gr)
	}
	return gr
}

// discardedLocked takes note that a member of the group was marked. It reports
// whether it was the last one. If it returns members, the caller has to call
// compact with them once it has released the lock.
func (s *groupShard) discardedLocked(gr *group) (last bool, crowded []*member) {
	gr.size--
	switch {
	case gr.size == 0:
		s.groups.delete(gr.name)
		return true, nil
	case gr.compacting || !gr.crowded():
		return false, nil
	}
	gr.compacting = true
	return false, gr.members
}

// crowded reports whether more than half of the members are discarded.
func (gr *group) crowded() bool { return len(gr.members) > 2*int(gr.size) }

// compact replaces the members by those who are not discarded. It looks at
// them without the lock, so that a group of millions stops nobody. One
// goroutine at a time does it for a group.
func (s *groupShard) compact(gr *group, members []*member) {
	for members != nil {
		members = s.replace(gr, members, remaining(members))
	}
}

// remaining returns the members, at most half of them, who are not discarded.
func remaining(members []*member) []*member {
	kept := make([]*member, 0, len(members)/2)
	for _, m := range members {
		if m.until.Load() != discarded {
			kept = append(kept, m)
		}
	}
	return kept
}

// replace puts kept in the place of before, which is what the group's members
// began with. If so many left meanwhile that the group is crowded already, it
// returns the members to go on with.
func (s *groupShard) replace(gr *group, before, kept []*member) (crowded []*member) {
	s.mu.Lock()
	defer s.mu.Unlock()
	joined := gr.members[len(before):]
	gr.members = append(kept, joined...)
	gr.compacting = gr.crowded()
	if !gr.compacting {
		return nil
	}
	return gr.members
}

// walk is a group as it was at one moment.
type walk struct {
	group   string
	members []*member
}

// walks returns all groups of the shard. The lock is held for a copy of the
// slice headers only.
func (s *groupShard) walks() []walk {
	s.mu.RLock()
	defer s.mu.RUnlock()
	all := make([]walk, 0, s.groups.len())
	for _, gr := range s.groups.entries {
		all = append(all, walk{gr.name, gr.members})
	}
	return all
}

// walk returns the members of the group.
func (s *groupShard) walk(name string) []*member {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if gr := s.groups.get(name); gr != nil {
		return gr.members
	}
	return nil
}
