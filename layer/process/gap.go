package process

import (
	"context"
	"math/rand/v2"
	"slices"
	"time"
)

// tellGaps is the goroutine that gives the GapMessage to the channels after a
// gap. It does so in rounds: a round visits each channel once, in random order,
// at a random time within its share of the spread. So the clients of many
// processes, which all met the gap at one time, do not all come back at one
// time. A gap during a round begins another: what was not yet visited comes
// first in it, and so is visited once, and however often gaps come nobody waits
// for ever.
func (p *Process) tellGaps(ctx context.Context) {
	var left []string
	for ctx.Err() == nil {
		if len(left) == 0 {
			select {
			case <-p.gapped:
			case <-ctx.Done():
				return
			}
		}
		left = p.gapRound(ctx, p.shuffled(left))
	}
}

// shuffled returns the open channels in random order, those in first, in their
// order, before the others.
func (p *Process) shuffled(first []string) []string {
	early := make(map[string]struct{}, len(first))
	for _, channel := range first {
		early[channel] = struct{}{}
	}
	all := slices.Clip(first)
	for channel := range p.mailboxes.Channels() {
		if _, ok := early[channel]; !ok {
			all = append(all, channel)
		}
	}
	others := all[len(first):]
	rand.Shuffle(len(others), func(i, j int) { others[i], others[j] = others[j], others[i] })
	return all
}

// gapRound visits the channels. If it is cut short by another gap, it returns
// those that are left.
func (p *Process) gapRound(ctx context.Context, channels []string) (left []string) {
	begun := time.Now()
	share := float64(p.options.GapSpread) / float64(len(channels))
	if p.options.GapEach > 0 {
		share = min(share, float64(p.options.GapEach))
	}
	wait := time.NewTimer(0)
	defer wait.Stop()
	for i, channel := range channels {
		due := time.Duration((float64(i) + rand.Float64()) * share)
		// Waiting for less than this would cost more than it spreads.
		if ahead := due - time.Since(begun); ahead > time.Millisecond {
			wait.Reset(ahead)
			select {
			case <-wait.C:
			case <-p.gapped:
				return channels[i:]
			case <-ctx.Done():
				return nil
			}
		}
		p.mailboxes.Notify(channel, p.options.GapMessage)
	}
	return nil
}
