package redislayer

import (
	"context"
	"math/rand/v2"
	"slices"
	"time"
)

// gapNotice gives the application's message to every channel of this process
// after a gap. One goroutine does it, in rounds: a round visits each channel
// once, in random order, at a random time within its share of the spread. So
// the clients of many processes, which all met the gap at one time, do not all
// come back at one time.
type gapNotice struct {
	l    *Layer
	wake chan struct{} // has room for one: gaps while one is pending are one
}

func newGapNotice(l *Layer) *gapNotice {
	return &gapNotice{l: l, wake: make(chan struct{}, 1)}
}

// gap is told that there was one.
func (g *gapNotice) gap() {
	select {
	case g.wake <- struct{}{}:
	default:
	}
}

// run is the goroutine. A gap during a round begins another: what was not yet
// visited comes first in it, and so is visited once, and however often gaps
// come nobody waits for ever.
func (g *gapNotice) run(ctx context.Context) {
	var left []string
	for {
		if len(left) == 0 {
			select {
			case <-g.wake:
			case <-ctx.Done():
				return
			}
		}
		left = g.round(ctx, g.channels(left))
		if ctx.Err() != nil {
			return
		}
	}
}

// channels returns the open channels in random order, those in first, in their
// order, before the others.
func (g *gapNotice) channels(first []string) []string {
	early := make(map[string]struct{}, len(first))
	for _, channel := range first {
		early[channel] = struct{}{}
	}
	all := slices.Clip(first)
	for channel := range g.l.mailboxes.Channels() {
		if _, ok := early[channel]; !ok {
			all = append(all, channel)
		}
	}
	others := all[len(first):]
	rand.Shuffle(len(others), func(i, j int) { others[i], others[j] = others[j], others[i] })
	return all
}

// round visits the channels. If it is cut short by another gap, it returns
// those that are left.
func (g *gapNotice) round(ctx context.Context, channels []string) (left []string) {
	begun := time.Now()
	share := float64(g.l.options.GapSpread) / float64(len(channels))
	wait := time.NewTimer(0)
	defer wait.Stop()
	for i, channel := range channels {
		due := time.Duration((float64(i) + rand.Float64()) * share)
		// Waiting for less than this would cost more than it spreads.
		if ahead := due - time.Since(begun); ahead > time.Millisecond {
			wait.Reset(ahead)
			select {
			case <-wait.C:
			case <-g.wake:
				return channels[i:]
			case <-ctx.Done():
				return nil
			}
		}
		g.l.mailboxes.Notify(channel, g.l.options.GapMessage)
	}
	return nil
}
