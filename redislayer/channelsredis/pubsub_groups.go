package channelsredis

import (
	"context"
	"fmt"
	"hash/maphash"
	"strings"

	"github.com/channellayer/channellayer/layer"
)

// GroupAdd implements [layer.Layer] for channels of this process; for one of
// another the error matches [layer.ErrForeignChannel] and names the channel: let
// the process whose channel it is add it. A name that ends in a dot and 32
// hexadecimal digits is taken for that of a Python process's channel, even if it
// is your own name of a normal one. A process that adds a normal channel
// is one that receives on it, as long as the membership lasts: it gets what is
// sent there, too. GroupAdd returns when the subscription is confirmed, so only the
// first member that this process has in a group waits for Redis. After an error
// that matches [layer.ErrUnavailable], or ctx's, the membership has begun, and
// counts as soon as Redis is back; discarding it is fine too.
func (l *PubSub) GroupAdd(ctx context.Context, group, channel string) error {
	if err := l.checkMembership(ctx, group, channel); err != nil {
		return err
	}
	if layer.IsProcessSpecific(channel) && !l.process.Owns(channel) || isPythonSpecific(channel) {
		return &layer.Error{Op: "group add", Name: channel, Err: fmt.Errorf(
			"%w: on a PubSub bus, each process adds its own channels", layer.ErrForeignChannel)}
	}
	if layer.IsProcessSpecific(channel) { // waits once, if at all
		return l.add(ctx, group, channel)
	}
	return within(ctx, l.options.Timeout, func(ctx context.Context) error { return l.add(ctx, group, channel) })
}

// add begins a membership, and waits for the subscriptions that it needs.
func (l *PubSub) add(ctx context.Context, group, channel string) error {
	specific := layer.IsProcessSpecific(channel)
	if specific {
		if err := l.process.Join(group, channel); err != nil {
			return err
		}
	} else {
		if err := l.normals.touch(ctx, channel); err != nil {
			return err
		}
		l.process.Groups().Add(group, channel)
	}
	subscription := l.register(group)
	if subscription == nil { // it has left again meanwhile
		return l.closedOr(nil)
	}
	err := l.host(subscription.name).sub.wait(ctx, subscription)
	if err == nil && !specific {
		sub := l.host(channel).sub
		err = sub.wait(ctx, sub.subscribe(channel, false))
	}
	if err != nil {
		return l.closedOr(err)
	}
	return nil
}

// GroupDiscard implements [layer.Layer]. It does not wait for Redis. Channels of
// other processes are in no group as far as this one knows: for them it does
// nothing.
func (l *PubSub) GroupDiscard(ctx context.Context, group, channel string) error {
	if err := l.checkMembership(ctx, group, channel); err != nil {
		return err
	}
	l.leave(group, channel)
	return nil
}

func (l *PubSub) checkMembership(ctx context.Context, group, channel string) error {
	return l.process.Check(ctx, layer.ValidateGroup(group), l.validateChannel(channel))
}

// leave ends a membership, and the subscription with the last.
func (l *PubSub) leave(group, channel string) {
	if l.process.Groups().Discard(group, channel) {
		l.register(group)
	}
}

// emptied is told of groups that lost their last member here without anybody
// having called GroupDiscard.
func (l *PubSub) emptied(groups []string) {
	for _, group := range groups {
		l.register(group)
	}
}

// register sees to it that there is a subscription to the group if it has
// members here, and none otherwise. Whoever changes members calls it after that:
// the last to do so leaves it right. It returns the subscription.
func (l *PubSub) register(group string) *topic {
	topic := l.groupTopic(group)
	sub := l.host(topic).sub
	lock := &l.locks[maphash.String(lockSeed, group)%uint64(len(l.locks))]
	lock.Lock()
	defer lock.Unlock()
	if l.process.Groups().Len(group) > 0 {
		return sub.subscribe(topic, false)
	}
	sub.unsubscribe(topic)
	return nil
}

var lockSeed = maphash.MakeSeed()

const groupInfix = "__group__"

// groupTopic is the Redis channel of a group.
func (l *PubSub) groupTopic(group string) string { return l.options.Prefix + groupInfix + group }

func (l *PubSub) groupOf(topic string) (group string, ok bool) {
	rest, ok := strings.CutPrefix(topic, l.options.Prefix)
	if !ok {
		return "", false
	}
	return strings.CutPrefix(rest, groupInfix)
}
