package redislayer

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/channellayer/channellayer/layer"
)

// A group send whose outcome is told as unknown reached somebody, or may have:
// a process that is gone, or has no room, was certainly not reached.
func TestSpreadingOutcome(t *testing.T) {
	unsent := &task{kind: taskRelay, err: layer.ErrUnavailable}
	for name, test := range map[string]struct {
		other *task
		reply any
		maybe bool
	}{
		"an inbox that took it":              {&task{kind: taskRelay}, int64(1), true},
		"a process that is gone":             {&task{kind: taskRelay}, int64(0), false},
		"an inbox without room":              {&task{kind: taskRelay}, int64(-1), false},
		"a normal channel":                   {&task{kind: taskPush}, nil, true},
		"a connection that broke half-way":   {&task{kind: taskRelay, err: layer.ErrUnavailable, maybe: true}, nil, true},
		"another one that certainly was not": {&task{kind: taskRelay, err: layer.ErrUnavailable}, nil, false},
	} {
		s := &spreading{t: &task{kind: taskMembers}}
		s.left.Store(3)
		s.reached(test.other, test.reply)
		s.reached(unsent, nil)
		s.over()
		require.ErrorIs(t, s.t.err, layer.ErrUnavailable, name)
		require.Equal(t, test.maybe, s.t.maybe, "maybe sent, beside one that certainly was not: %s", name)
	}
}

// The reply about an inbox is passed on to who spreads the message.
func TestRelayedTellsReply(t *testing.T) {
	l := apart(t, Options{})
	for _, reply := range []any{int64(1), int64(-1)} {
		var told any
		part := &task{kind: taskRelay, name: "room", then: func(_ *task, reply any) { told = reply }}
		(&lane{c: &cluster{l: l}}).relayed(&laneCall{tasks: []*task{part}}, reply)
		require.Equal(t, reply, told)
	}
}
