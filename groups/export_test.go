package groups

import "time"

// Advance lets time pass for g. Nobody else may use g meanwhile.
func (g *Groups) Advance(d time.Duration) { g.base = g.base.Add(-d) }

// Held returns how many members the group's slice holds, discarded ones
// included.
func (g *Groups) Held(group string) int { return len(g.groupShard(group).walk(group)) }

const MaxFew = maxFew
