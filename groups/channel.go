package groups

import "sync"

// channelShard holds the memberships of some of the channels, those that are
// not discarded. A channel is in one of the two tables, or in none if it has
// no membership.
type channelShard struct {
	mu sync.Mutex

	// few has the channels with up to maxFew memberships, each as a list, which
	// needs no memory beside the members. Values of one word matter: with two,
	// the parts of a Go map just miss a size class, and a channel with one
	// membership cost 28 bytes more.
	few table[string, *member]

	many table[string, *memberships]
}

type memberships = table[*group, *member]

// maxFew is how long a list may grow. A channel that had more memberships
// stays in the other table until it has none.
const maxFew = 16

// membershipLocked returns the channel's membership in the group, or nil. The
// group may be nil.
func (s *channelShard) membershipLocked(channel string, gr *group) *member {
	if first := s.few.get(channel); first != nil {
		for m := first; m != nil; m = m.next {
			if m.group == gr {
				return m
			}
		}
		return nil
	}
	if many := s.many.get(channel); many != nil {
		return many.get(gr)
	}
	return nil
}

// joinLocked adds a membership. The channel has none in the same group.
func (s *channelShard) joinLocked(m *member) {
	if many := s.many.get(m.channel); many != nil {
		many.put(m.group, m)
		return
	}
	first, n := s.few.get(m.channel), 0
	for few := first; few != nil; few = few.next {
		n++
	}
	if n < maxFew {
		m.next = first
		s.few.put(m.channel, m)
		return
	}

	many := new(memberships)
	many.put(m.group, m)
	for few := first; few != nil; {
		next := few.next
		few.next = nil
		many.put(few.group, few)
		few = next
	}
	s.few.delete(m.channel)
	s.many.put(m.channel, many)
}

// leaveLocked removes a membership.
func (s *channelShard) leaveLocked(m *member) {
	first := s.few.get(m.channel)
	switch {
	case first == nil:
		many := s.many.get(m.channel)
		many.delete(m.group)
		if many.len() == 0 {
			s.many.delete(m.channel)
		}
	case first != m:
		before := first
		for before.next != m {
			before = before.next
		}
		before.next = m.next
	case m.next != nil:
		s.few.put(m.channel, m.next)
	default:
		s.few.delete(m.channel)
	}
	m.next = nil // the group may retain m for a while, but not all that follow
}

// groupsLocked returns the names of the groups in which the channel's
// membership expires after now.
func (s *channelShard) groupsLocked(channel string, now int64) []string {
	var names []string
	for m := s.few.get(channel); m != nil; m = m.next {
		if m.until.Load() > now {
			names = append(names, m.group.name)
		}
	}
	if many := s.many.get(channel); many != nil {
		names = make([]string, 0, many.len())
		for gr, m := range many.entries {
			if m.until.Load() > now {
				names = append(names, gr.name)
			}
		}
	}
	return names
}
