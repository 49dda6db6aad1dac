package channelsredis

import (
	"context"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/channellayer/channellayer/internal/pypeer"
	"github.com/channellayer/channellayer/internal/redistest"
	"github.com/channellayer/channellayer/layer"
)

// The edge values of every type, and random ones, go through the real layers in
// both directions, and come out as they went in.
func TestInteropCorpus(t *testing.T) {
	python := pypeer.Start(t)
	server := redistest.Start(t, redistest.Config{})
	type variant struct {
		name      string
		format    Serializer
		python    string
		withBytes bool
	}
	variants := []variant{{name: "msgpack", withBytes: true}}
	if pypeer.HasSerializers() {
		variants = append(variants, variant{name: "JSON", format: JSON{}, python: "json"})
	}
	for _, v := range variants {
		for _, kind := range []string{"Core", "PubSub"} {
			t.Run(v.name+" "+kind, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
				defer cancel()
				o := Options{Prefix: v.name, Capacity: 1000, SerializerFormat: v.format}
				config := pypeer.Options{Hosts: []string{server.URL()}, Prefix: o.Prefix, Capacity: o.Capacity, SerializerFormat: v.python}
				var ours layer.Layer
				var theirs *pypeer.Layer
				var err error
				if kind == "Core" {
					theirs = python.Core(config)
					ours, err = OpenCore(ctx, config.Hosts, o)
				} else {
					theirs = python.PubSub(config)
					ours, err = OpenPubSub(ctx, config.Hosts, o)
				}
				require.NoError(t, err)
				defer func() { require.NoError(t, ours.Close()) }()
				own, err := ours.NewChannel(ctx, "")
				require.NoError(t, err)
				other := theirs.NewChannel()
				seed := uint64(time.Now().UnixNano())
				r := rand.New(rand.NewPCG(seed, 0))
				values := edgeValues()
				if v.withBytes {
					values = append(values, edgeBytes()...)
				}
				for range 50 {
					values = append(values, randomValue(r, 4, v.withBytes))
				}
				send := func(msg layer.Message) error { return ours.Send(ctx, other, msg) }
				for err := send(layer.NewMessage(map[string]any{"type": "first"})); err != nil; err = send(layer.NewMessage(map[string]any{"type": "first"})) {
					require.ErrorIs(t, err, layer.ErrChannelGone) // PubSub's, until Redis has it
				}
				require.Equal(t, map[string]any{"type": "first"}, theirs.Receive(other, 10*time.Second))
				for i, value := range values {
					msg := layer.NewMessage(map[string]any{"type": "x", "v": value})
					require.NoError(t, send(msg))
					back := layer.NewMessage(theirs.Receive(other, 10*time.Second))
					require.True(t, msg.Equal(back), "seed %d, value %d: sent %.300v, Python received %.300v", seed, i, msg, back)
					theirs.Send(own, msg.Map())
					got, err := ours.Receive(ctx, own)
					require.NoError(t, err)
					require.True(t, msg.Equal(got), "seed %d, value %d: Python sent %.300v, received %.300v", seed, i, msg, got)
				}
				stats, _ := layer.ReadStats(ours)
				require.Zero(t, stats.Dropped.Total())
			})
		}
	}
}
