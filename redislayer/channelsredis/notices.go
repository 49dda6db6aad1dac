package channelsredis

import (
	"context"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/layer/mailbox"
)

// notices give the messages of OnDisconnect and OnReconnect to every
// process-specific channel here. One goroutine does it.
//
// The notice of a reconnection has a place of its own in each mailbox, so that
// it comes even where the mailbox is full: whoever gets it looks at the state of
// things anew. The notice of a disconnection is a message like others.
type notices struct {
	mailboxes        *mailbox.Set
	taken            func(channel string, err error) // counts what a mailbox did not take
	lost, again      chan struct{}                   // have room for one: several are one
	onLost, onReturn layer.Message                   // empty if not wanted
}

func newNotices(o Options, mailboxes *mailbox.Set, taken func(string, error)) *notices {
	return &notices{
		mailboxes: mailboxes, taken: taken, lost: make(chan struct{}, 1), again: make(chan struct{}, 1),
		onLost: typed(o.OnDisconnect), onReturn: typed(o.OnReconnect),
	}
}

func typed(kind string) layer.Message {
	if kind == "" {
		return layer.Message{}
	}
	return layer.NewMessage(map[string]any{"type": kind})
}

func (n *notices) tell(again bool) {
	if again {
		nudge(n.again)
	} else {
		nudge(n.lost)
	}
}

func (n *notices) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-n.lost:
			n.disconnected()
			continue
		default:
		}
		select {
		case <-ctx.Done():
			return
		case <-n.lost:
			n.disconnected()
		case <-n.again:
			n.reconnected(ctx)
		}
	}
}

func (n *notices) disconnected() {
	if n.onLost.Len() == 0 {
		return
	}
	for channel := range n.mailboxes.Channels() {
		n.taken(channel, n.mailboxes.Put(channel, n.onLost))
	}
}

// Clients that all ask for the state of things at once are a load of their own:
// 1,000 channels are told a second, and more where they would take longer than
// noticeSpread.
const (
	noticeEach   = time.Millisecond
	noticeSpread = 5 * time.Second
)

func (n *notices) reconnected(ctx context.Context) {
	if n.onReturn.Len() == 0 {
		return
	}
	channels := slices.Collect(n.mailboxes.Channels())
	rand.Shuffle(len(channels), func(i, j int) { channels[i], channels[j] = channels[j], channels[i] })
	each := min(noticeEach, noticeSpread/time.Duration(max(1, len(channels))))
	begun := time.Now()
	wait := time.NewTimer(0)
	defer wait.Stop()
	for i, channel := range channels {
		if ahead := time.Duration(i)*each - time.Since(begun); ahead > time.Millisecond {
			wait.Reset(ahead)
			select {
			case <-wait.C:
			case <-ctx.Done():
				return
			}
		}
		n.mailboxes.Notify(channel, n.onReturn)
	}
}
