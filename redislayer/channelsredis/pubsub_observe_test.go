package channelsredis

import (
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/channellayer/channellayer/layer"
)

// slowObserver is in a call until it is let go, and notes what it is told.
type slowObserver struct {
	called chan struct{} // closed by the first call
	let    chan struct{}

	mu    sync.Mutex
	drops []string
	names map[string]int // by name, messages
	gaps  []string
}

func (s *slowObserver) observer() layer.Observer {
	s.called, s.let, s.names = make(chan struct{}), make(chan struct{}), make(map[string]int)
	begin := sync.OnceFunc(func() { close(s.called) })
	return layer.Observer{
		Dropped: func(reason layer.DropReason, name string, count int) {
			begin()
			<-s.let
			s.mu.Lock()
			defer s.mu.Unlock()
			s.drops = append(s.drops, fmt.Sprint(reason, " ", name, " ", count))
			s.names[name] += count
		},
		Gap: func(from, to time.Time, reason string) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.gaps = append(s.gaps, fmt.Sprintf("%v to %v: %s", from.Unix(), to.Unix(), reason))
		},
	}
}

// told waits until the observer was told of so many messages, and returns by what
// calls, and by name of how many.
func (s *slowObserver) told(t *testing.T, messages uint64) (drops []string, names map[string]int) {
	t.Helper()
	close(s.let)
	var sum uint64
	require.Eventually(t, func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		drops, names, sum = s.drops, maps.Clone(s.names), 0
		for _, count := range names {
			sum += uint64(count)
		}
		return sum >= messages
	}, 10*time.Second, time.Millisecond, "the observer to be told of %d dropped messages", messages)
	require.Equal(t, messages, sum, "messages that the observer was told of")
	return drops, names
}

// While an observer keeps the layer waiting, what is dropped on the same channels
// costs no more memory, and is told in one call for each.
func TestSlowObserverIsToldSums(t *testing.T) {
	var slow slowObserver
	l, _, members := delivering(t, Options{Capacity: 1, Observer: slow.observer()})
	l.process.Drop(layer.DropLate, "first", 1)
	<-slow.called
	const times = 50_000
	for range times {
		for _, channel := range members {
			l.process.Drop(layer.DropFull, channel, 2)
		}
		l.process.Drop(layer.DropUndecodable, members[0], 1)
	}
	require.Equal(t, layer.Drops{layer.DropLate: 1, layer.DropFull: 4 * times, layer.DropUndecodable: times}, l.Stats().Dropped,
		"what is counted while the observer does not return")
	drops, _ := slow.told(t, l.Stats().Dropped.Total())
	require.Len(t, drops, 4, "calls; the last was %s", drops[len(drops)-1])
	require.ElementsMatch(t, []string{
		"late first 1",
		fmt.Sprint("full ", members[0], " ", 2*times),
		fmt.Sprint("full ", members[1], " ", 2*times),
		fmt.Sprint("undecodable ", members[0], " ", times),
	}, drops)
}

// Nor do drops on ever other channels take more than so much memory: beyond that
// they are told without names.
func TestSlowObserverIsToldSoManyNames(t *testing.T) {
	var slow slowObserver
	l, _, _ := delivering(t, Options{Observer: slow.observer()})
	l.process.Drop(layer.DropLate, "first", 1)
	<-slow.called
	const channels = 100_000
	for n := range channels {
		l.process.Drop(layer.DropFull, fmt.Sprint("c", n), 3)
		l.process.Drop(layer.DropLate, fmt.Sprint("c", n), 1)
	}
	require.EqualValues(t, 1+4*channels, l.Stats().Dropped.Total(), "counted while the observer does not return")
	drops, names := slow.told(t, 1+4*channels)
	require.LessOrEqual(t, len(drops), 1+maxNamedNews+2, "calls for %d drops", 2*channels)
	require.Equal(t, 4, names["c0"], "messages told for the first channel")
	require.Equal(t, 4*(channels-maxNamedNews/2), names[""], "messages told without a name")
	var unnamed []string
	for _, drop := range drops {
		if strings.Contains(drop, "  ") {
			unnamed = append(unnamed, drop)
		}
	}
	require.Len(t, unnamed, 2, "one call for each reason: %q", unnamed)
}

// Connections that come and go meanwhile are one gap, from the first loss on.
func TestSlowObserverIsToldOneGap(t *testing.T) {
	var slow slowObserver
	l, _, members := delivering(t, Options{Observer: slow.observer(), OnDisconnect: "lost", OnReconnect: "back"})
	l.process.Drop(layer.DropLate, "first", 1)
	<-slow.called
	h, begun := l.hosts[0], time.Now()
	for second := range 1000 {
		l.disconnected(h, fmt.Errorf("test"))
		l.subscribed(h, begun.Add(time.Duration(second)*time.Second))
	}
	l.disconnected(h, fmt.Errorf("test"))
	slow.told(t, 1)
	var told []string
	for range 2 {
		msg, err := l.Receive(t.Context(), members[0])
		require.NoError(t, err)
		told = append(told, msg.Type())
	}
	require.ElementsMatch(t, []string{"lost", "back"}, told)
	require.Zero(t, l.process.Mailboxes().Len(members[0]), "notices beyond one of each")
	slow.mu.Lock()
	defer slow.mu.Unlock()
	require.Len(t, slow.gaps, 1)
	require.Regexp(t, fmt.Sprint("^", begun.Unix(), " to "), slow.gaps[0])
	require.EqualValues(t, 1, l.Stats().Gaps)
}
