package groups_test

import (
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/channellayer/channellayer/groups"
)

// Walks go on while others join and leave, which compacts the group again and
// again: those who stay must be visited once in every walk, nobody twice, and
// whoever left before the walk not at all.
func TestConcurrentWalks(t *testing.T) {
	const stay, churners, rounds = 100, 4, 300
	g := newGroups(t, groups.Options{})
	staying := names("stays.%d", stay)
	for _, channel := range staying {
		g.Add("room", channel)
	}

	var done atomic.Bool
	var churn, walks sync.WaitGroup
	for _, own := range names("churner.%d", churners) {
		churn.Go(func() {
			mine := names(own+".%d", 50)
			for i := range rounds {
				for _, channel := range mine {
					g.Add("room", channel)
				}
				if n := count(members(g, "room"), mine[i%len(mine)]); n != 1 {
					t.Errorf("a walk after Add visited %s %d times, want once", mine[i%len(mine)], n)
				}
				if i%2 == 0 {
					for _, channel := range mine {
						g.Discard("room", channel)
					}
				} else {
					for _, channel := range mine {
						g.DiscardChannel(channel)
					}
				}
				for channel := range g.Members("room") {
					if slices.Contains(mine, channel) {
						t.Errorf("a walk after Discard visited %s", channel)
					}
				}
			}
		})
	}
	for range 2 {
		walks.Go(func() {
			for !done.Load() {
				visits := map[string]int{}
				for channel := range g.Members("room") {
					visits[channel]++
				}
				for channel, n := range visits {
					if n != 1 {
						t.Errorf("a walk visited %s %d times", channel, n)
					}
				}
				for _, channel := range staying {
					if visits[channel] != 1 {
						t.Errorf("a walk visited %s, who was there all the time, %d times, want once", channel, visits[channel])
					}
				}
				g.Sweep()
				runtime.Gosched() // or it keeps a processor from the others for 10 ms
			}
		})
	}
	churn.Wait()
	done.Store(true)
	walks.Wait()
	require.Equal(t, staying, members(g, "room"))
	require.LessOrEqual(t, g.Held("room"), 2*stay)
}

// For each group, being filled and being emptied alternate, whoever does it.
// With memberships that expire at once, Sweep has its part in it.
func TestConcurrentFirstAndLast(t *testing.T) {
	for name, expiry := range map[string]time.Duration{"kept": time.Hour, "expiring": time.Microsecond} {
		t.Run(name, func(t *testing.T) {
			const workers, ops = 4, 20_000
			g := newGroups(t, groups.Options{Expiry: expiry})
			rooms, channels := names("room.%d", 5), names("channel.%d", 6)
			filled := make([]atomic.Int64, len(rooms)) // times filled, less times emptied
			empty := func(emptied []string) {
				for _, room := range emptied {
					filled[slices.Index(rooms, room)].Add(-1)
				}
			}

			var wg sync.WaitGroup
			for worker := range workers {
				wg.Go(func() {
					random := rand.New(rand.NewPCG(1, uint64(worker)))
					for range ops {
						i, channel := random.IntN(len(rooms)), channels[random.IntN(len(channels))]
						switch random.IntN(10) {
						case 0:
							empty(g.DiscardChannel(channel))
						case 1:
							empty(g.Sweep())
						case 2, 3, 4, 5:
							if g.Discard(rooms[i], channel) {
								filled[i].Add(-1)
							}
						default:
							if g.Add(rooms[i], channel) {
								filled[i].Add(1)
							}
						}
					}
				})
			}
			wg.Wait()

			for i, room := range rooms {
				want := int64(0)
				if g.Len(room) > 0 {
					want = 1
				}
				require.Equal(t, want, filled[i].Load(), "%s has %d members; times filled less times emptied", room, g.Len(room))
			}
			for _, channel := range channels {
				empty(g.DiscardChannel(channel))
			}
			for i, room := range rooms {
				require.Zero(t, filled[i].Load(), "after all left, times %s was filled less times emptied", room)
			}
			n, memberships := g.Count()
			require.Zero(t, n)
			require.Zero(t, memberships)
		})
	}
}

// Clear takes all locks while others take theirs.
func TestConcurrentClear(t *testing.T) {
	g := newGroups(t, groups.Options{})
	var wg sync.WaitGroup
	for _, channel := range names("channel.%d", 4) {
		wg.Go(func() {
			rooms := names("room.%d", groups.MaxFew+5)
			for range 200 {
				for _, room := range rooms {
					g.Add(room, channel)
				}
				if channel == "channel.0" {
					g.Clear()
				}
				g.DiscardChannel(channel)
				if left := g.GroupsOf(channel); len(left) > 0 {
					t.Errorf("after DiscardChannel, %s is in %v", channel, left)
				}
			}
		})
	}
	wg.Wait()
	rooms, memberships := g.Count()
	require.Zero(t, rooms)
	require.Zero(t, memberships)
}
