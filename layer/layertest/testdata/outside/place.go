package hublayer

import (
	"github.com/channellayer/channellayer/groups"
	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/layer/mailbox"
)

// place holds channels and their memberships.
type place struct {
	queues   *mailbox.Set
	groups   *groups.Groups
	observer layer.Observer
}

func newPlace(limits layer.Limits, observer layer.Observer) (*place, error) {
	limits, err := limits.WithDefaults()
	if err != nil {
		return nil, err
	}
	p := &place{observer: observer}
	if p.groups, err = groups.New(groups.Options{Expiry: limits.GroupExpiry}); err != nil {
		return nil, err
	}
	abandoned := observer.Abandoned
	observer.Abandoned = func(channel string) { // nobody reads it any more
		p.groups.DiscardChannel(channel)
		if abandoned != nil {
			abandoned(channel)
		}
	}
	p.queues, err = mailbox.New(mailbox.Options{Limits: limits, Observer: observer})
	return p, err
}

// deliver gives the message to those members that are here. One that is full
// is skipped, and that is reported: nothing is lost in silence.
func (p *place) deliver(group string, msg layer.Message) {
	for channel := range p.groups.Members(group) {
		switch p.queues.Put(channel, msg) {
		case nil, layer.ErrChannelGone: // a channel that ended just now is no member
		case layer.ErrChannelFull:
			p.drop(layer.DropFull, channel)
		default: // closed just now
			p.drop(layer.DropClosed, channel)
		}
	}
}

func (p *place) drop(reason layer.DropReason, channel string) {
	if p.observer.Dropped != nil {
		p.observer.Dropped(reason, channel, 1)
	}
}
