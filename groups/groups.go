package groups

import (
	"fmt"
	"hash/maphash"
	"math"
	"time"

	"github.com/channellayer/channellayer/layer"
)

// Options configures a Groups. The zero value means the defaults.
type Options struct {
	// Expiry is how long a membership lasts after the last Add. Default
	// [layer.DefaultGroupExpiry], 24 h.
	Expiry time.Duration
}

// Groups knows which channels are in which groups. Make one with [New].
//
// All methods may be called concurrently, and none waits for anything but
// short locks. No lock is held while a caller's code runs: inside the loops
// over [Groups.Members] and [Groups.All], every method may be called.
type Groups struct {
	seed   maphash.Seed
	base   time.Time // times are nanoseconds since base, on the monotonic clock
	expiry int64

	// Whoever takes a lock of both kinds takes the channel's first.
	channels [shards]channelShard
	groups   [shards]groupShard
}

// shards is how many locks the channels, and again the groups, are spread
// over. It is a power of two.
const shards = 128

// New makes a Groups without memberships. It starts no goroutine, and needs no
// closing.
//
// Errors: [layer.ErrInvalidOption] for a negative expiry.
func New(options Options) (*Groups, error) {
	if options.Expiry < 0 {
		return nil, &layer.Error{Op: "groups", Name: "Expiry",
			Err: fmt.Errorf("%w: %v is negative", layer.ErrInvalidOption, options.Expiry)}
	}
	if options.Expiry == 0 {
		options.Expiry = layer.DefaultGroupExpiry
	}
	return &Groups{
		seed:   maphash.MakeSeed(),
		base:   time.Now(),
		expiry: int64(options.Expiry),
	}, nil
}

// Add makes channel a member of group until the expiry has passed. Adding a
// member again renews its membership.
//
// first reports that this call filled an empty group, so that a backend can
// register its process. For each group, being filled and being emptied
// alternate; a group whose members have all expired is empty only once Sweep
// says so. What two concurrent calls return may arrive in either order: see
// the package documentation.
//
// The names are kept as long as the membership; they are not validated.
func (g *Groups) Add(group, channel string) (first bool) {
	return g.AddWith(group, channel, nil)
}

// AddWith is Add with a value that [Groups.MembersWith] shows beside the
// channel: whatever the caller wants at hand in a walk, such as where the
// channel's queue is, so that it need not be found by name for each member.
// There is room for a pointer; other values may take memory of their own. It is
// kept as long as the membership, and may be retained a while longer. Adding a
// member again does not change it.
func (g *Groups) AddWith(group, channel string, value any) (first bool) {
	until := g.now() + g.expiry
	if until < 0 { // overflow
		until = math.MaxInt64
	}
	cs, gs := g.channelShard(channel), g.groupShard(group)

	cs.mu.Lock()
	defer cs.mu.Unlock()
	gs.mu.Lock()
	defer gs.mu.Unlock()

	gr := gs.groupLocked(group)
	if m := cs.membershipLocked(channel, gr); m != nil {
		// A concurrent Add may have read the clock later but come sooner.
		m.until.Store(max(until, m.until.Load()))
		return false
	}
	m := &member{channel: channel, group: gr, value: value}
	m.until.Store(until)
	cs.joinLocked(m)
	gr.members = append(gr.members, m)
	gr.size++
	return gr.size == 1
}

// Discard ends a membership. It is fine if there was none.
//
// last reports that this call emptied the group, the counterpart of Add's
// first. It is false if the channel was not a member, or other members are
// left, even expired ones that no Sweep has removed yet.
func (g *Groups) Discard(group, channel string) (last bool) {
	return g.discard(group, channel, math.MaxInt64)
}

// DiscardChannel ends every membership that the channel has when it is called,
// one by one, and returns the names of the groups that this emptied, in no
// order. The caller owns the slice.
func (g *Groups) DiscardChannel(channel string) (emptied []string) {
	for _, group := range g.groupsOf(channel, 0) {
		if g.Discard(group, channel) {
			emptied = append(emptied, group)
		}
	}
	return emptied
}

// Sweep removes the memberships that have expired, to give their memory back,
// and returns the names of the groups that this emptied, in no order. The
// caller owns the slice. Expired members are not visited, swept or not, so it
// is enough to call Sweep now and then.
//
// It looks at every membership, mostly without any lock.
func (g *Groups) Sweep() (emptied []string) {
	for i := range g.groups {
		for _, w := range g.groups[i].walks() {
			now := g.now()
			for _, m := range w.members {
				until := m.until.Load()
				if until != discarded && until <= now && g.discard(w.group, m.channel, now) {
					emptied = append(emptied, w.group)
				}
			}
		}
	}
	return emptied
}

// Clear ends every membership at once. It does not tell which groups there
// were; [Groups.All] does.
func (g *Groups) Clear() {
	for i := range g.channels {
		g.channels[i].mu.Lock()
		defer g.channels[i].mu.Unlock()
	}
	for i := range g.groups {
		g.groups[i].mu.Lock()
		defer g.groups[i].mu.Unlock()
	}
	for i := range shards {
		g.channels[i].few = table[string, *member]{}
		g.channels[i].many = table[string, *memberships]{}
		g.groups[i].groups = table[string, *group]{}
	}
}

// discard ends the membership if it has expired by the time given, and reports
// whether that emptied the group.
func (g *Groups) discard(group, channel string, expired int64) (last bool) {
	cs, gs := g.channelShard(channel), g.groupShard(group)

	cs.mu.Lock()
	gs.mu.Lock()
	gr, crowded := gs.groups.get(group), []*member(nil)
	if m := cs.membershipLocked(channel, gr); m != nil && m.until.Load() <= expired {
		m.until.Store(discarded)
		cs.leaveLocked(m)
		last, crowded = gs.discardedLocked(gr)
	}
	gs.mu.Unlock()
	cs.mu.Unlock()

	gs.compact(gr, crowded)
	return last
}

// now returns the nanoseconds since base.
func (g *Groups) now() int64 { return int64(time.Since(g.base)) }

func (g *Groups) channelShard(channel string) *channelShard {
	return &g.channels[maphash.String(g.seed, channel)%shards]
}

func (g *Groups) groupShard(group string) *groupShard {
	return &g.groups[maphash.String(g.seed, group)%shards]
}
