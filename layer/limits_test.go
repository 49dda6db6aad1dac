package layer_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/channellayer/channellayer/layer"
)

func TestLimitsDefaults(t *testing.T) {
	got, err := layer.Limits{}.WithDefaults()
	require.NoError(t, err)
	want := layer.Limits{Capacity: 100, Expiry: time.Minute, GroupExpiry: 24 * time.Hour, MaxMessageSize: 4 << 20}
	require.Equal(t, want, got)

	again, err := got.WithDefaults()
	require.NoError(t, err)
	require.Equal(t, want, again)

	own := layer.Limits{Capacity: 1, Expiry: 1, GroupExpiry: 2, MaxMessageSize: layer.MaxSize, CapacityRules: []layer.CapacityRule{{"a*", 5}}}
	got, err = own.WithDefaults()
	require.NoError(t, err)
	require.Equal(t, own, got)
	own.CapacityRules[0].Capacity = 9
	require.Equal(t, 5, got.CapacityFor("a"), "the result shares nothing")
}

func TestLimitsOutOfBounds(t *testing.T) {
	rules := func(r ...layer.CapacityRule) layer.Limits { return layer.Limits{CapacityRules: r} }
	for want, l := range map[string]layer.Limits{
		`"Capacity": layer: invalid option: -1 is negative`:                                    {Capacity: -1},
		`"Expiry": layer: invalid option: -1ns is negative`:                                    {Expiry: -1},
		`"GroupExpiry": layer: invalid option: -1s is negative`:                                {GroupExpiry: -time.Second},
		`"MaxMessageSize": layer: invalid option: -1 is negative`:                              {MaxMessageSize: -1},
		`"MaxMessageSize": layer: invalid option: 1073741825 is above 1073741824`:              {MaxMessageSize: layer.MaxSize + 1},
		`"CapacityRules[0].Pattern": layer: invalid option: it is empty`:                       rules(layer.CapacityRule{"", 1}),
		`"CapacityRules[1].Capacity": layer: invalid option: 0 is below 1`:                     rules(layer.CapacityRule{"a", 1}, layer.CapacityRule{"b", 0}),
		`"CapacityRules[0].Capacity": layer: invalid option: -1 is below 1`:                    rules(layer.CapacityRule{"a", -1}),
		`"CapacityRules[0].Pattern": layer: invalid option: "[": syntax error in pattern`:      rules(layer.CapacityRule{"[", 1}),
		`"CapacityRules[0].Pattern": layer: invalid option: "abc*[z": syntax error in pattern`: rules(layer.CapacityRule{"abc*[z", 1}),
		`"CapacityRules[0].Pattern": layer: invalid option: "a\\": syntax error in pattern`:    rules(layer.CapacityRule{`a\`, 1}),
	} {
		_, err := l.WithDefaults()
		require.ErrorIs(t, err, layer.ErrInvalidOption, want)
		require.EqualError(t, err, "limits "+want)
	}
}

func TestCapacityFor(t *testing.T) {
	l, err := layer.Limits{Capacity: 7, CapacityRules: []layer.CapacityRule{
		{"jobs.urgent", 1}, {"jobs.*", 2}, {"specific.*!*", 3}, {"room-[0-4]", 4}, {"room-[^0-4]", 5}, {"?", 6},
	}}.WithDefaults()
	require.NoError(t, err)
	for name, want := range map[string]int{
		"jobs.urgent": 1, "jobs.urgent2": 2, "jobs.": 2, "jobs": 7, "xjobs.a": 7, "specific.a!b": 3, "specific.a": 7,
		"room-4": 4, "room-5": 5, "room-55": 7, "x": 6, "xy": 7,
	} {
		require.Equal(t, want, l.CapacityFor(name), name)
	}
}

func TestCheckMessage(t *testing.T) {
	l, err := layer.Limits{MaxMessageSize: 20}.WithDefaults()
	require.NoError(t, err)
	sized := func(n int) layer.Message { return layer.NewMessage(map[string]any{"k": strings.Repeat("x", n-4)}) }
	require.Equal(t, 20, sized(20).Size())
	require.NoError(t, l.CheckMessage(sized(20)))
	require.NoError(t, l.CheckMessage(layer.Message{}))
	err = l.CheckMessage(sized(21))
	require.ErrorIs(t, err, layer.ErrMessageTooLarge)
	require.ErrorIs(t, err, layer.ErrNotSent)
	require.EqualError(t, err, "send: layer: message too large: 21 bytes, at most 20 are allowed")
	bad := layer.NewMessage(map[string]any{"v": struct{}{}})
	require.Equal(t, bad.Err(), l.CheckMessage(bad))
}
