package consumer

import (
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/channellayer/channellayer/layer"
)

const (
	// closeTimeout bounds Close.
	closeTimeout = 5 * time.Second

	// renewTries is how many times a renewal that failed is tried again
	// within one Renew.
	renewTries = 12
)

// memberships are the groups that a consumer is in.
type memberships struct {
	// turn is held by whoever asks the layer to change a membership, so that a
	// renewal cannot undo a Leave, nor a Join outlast Close. It is a channel
	// because the wait for it ends with a ctx.
	turn chan struct{}

	mu sync.Mutex
	// groups holds true for a group joined. False is for one that the channel
	// may be in, because the layer failed to tell: it is not renewed, but
	// Close leaves it.
	groups map[string]bool
	timer  *time.Timer // nil unless a renewal is due or under way
}

// Join adds the consumer's channel to the group, and keeps it there until
// Leave or Close: see Options.Renew. Joining again renews the membership. Join
// and Leave of one consumer run one after another.
//
// Errors: ctx's error, [layer.ErrInvalidName], [layer.ErrClosed] once the
// consumer or its layer was closed, also while waiting,
// [layer.ErrChannelGone] if the channel was abandoned. After any other error
// the membership may exist, but is not renewed; Leave and Close end it.
func (c *Consumer) Join(ctx context.Context, group string) error {
	return c.change(ctx, func(bounded context.Context) error {
		known := c.memberships.expect(group)
		err := c.layer.GroupAdd(bounded, group, c.channel)
		switch {
		case err == nil:
			c.joined(group)
		case !known && (errors.Is(err, layer.ErrInvalidName) || errors.Is(err, layer.ErrChannelGone)):
			c.memberships.forget(group)
		}
		return err
	})
}

// Leave takes the consumer's channel out of the group. It is fine if it was
// not a member.
//
// Errors: ctx's error, [layer.ErrInvalidName], [layer.ErrClosed] once the
// consumer or its layer was closed, also while waiting. After an error the
// membership may exist, but is not renewed; Leave and Close end it.
func (c *Consumer) Leave(ctx context.Context, group string) error {
	return c.change(ctx, func(bounded context.Context) error {
		c.memberships.doubt(group)
		err := c.layer.GroupDiscard(bounded, group, c.channel)
		if err == nil {
			c.memberships.forget(group)
		}
		return err
	})
}

// Groups returns the groups joined and not left, sorted. The slice is the
// caller's.
func (c *Consumer) Groups() []string { return c.memberships.joined() }

// Close leaves every group and forgets the channel ([layer.Release]; where the
// layer cannot, the channel stays, without groups, until the layer closes).
// Unread messages are dropped. It wakes receivers, and Run between two
// messages, with [layer.ErrClosed], but does not wait for handlers, so that
// they may call it. It takes at most 5 seconds: if the broker is away for
// longer, the memberships end by themselves, because nobody renews them.
//
// Close may be called again, and at once with anything else. Every call
// returns when the first is done, with its result: an error if a membership or
// the channel may have stayed behind.
func (c *Consumer) Close() error { return c.close() }

func (c *Consumer) shut() error {
	c.bounds.close()
	c.memberships.stopTimer()
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	if err := c.memberships.lock(ctx); err != nil {
		return &layer.Error{Op: "close", Name: c.channel, Err: err}
	}
	defer c.memberships.unlock()

	groups := c.memberships.clear()
	err := layer.Release(ctx, c.layer, c.channel)
	switch {
	case err == nil, alreadyGone(err):
		return nil // and with the channel its memberships
	case errors.Is(err, errors.ErrUnsupported):
		err = nil
	}
	for _, group := range groups {
		if discardErr := c.layer.GroupDiscard(ctx, group, c.channel); !alreadyGone(discardErr) {
			err = errors.Join(err, discardErr)
		}
	}
	return err
}

func alreadyGone(err error) bool {
	return errors.Is(err, layer.ErrClosed) || errors.Is(err, layer.ErrChannelGone)
}

// change calls f, which changes memberships, when it is its turn, with a ctx
// that also ends at Close.
func (c *Consumer) change(ctx context.Context, f func(context.Context) error) error {
	b := c.bounds.begin(ctx)
	defer c.bounds.done(b)
	if err := c.memberships.lock(b.ctx); err != nil {
		return c.reason(ctx, err)
	}
	defer c.memberships.unlock()
	if c.isClosed() {
		return c.reason(ctx, layer.ErrClosed)
	}
	if err := f(b.ctx); err != nil {
		return c.reason(ctx, err)
	}
	return nil
}

func (c *Consumer) joined(group string) {
	m := &c.memberships
	m.mu.Lock()
	defer m.mu.Unlock()
	m.groups[group] = true
	if m.timer == nil {
		c.scheduleLocked(c.renewEvery)
	}
}

// scheduleLocked sets the timer for the next renewal, unless the consumer is
// closed. The random part keeps the consumers of a process, which after a
// restart all join at once, from renewing at once ever after.
func (c *Consumer) scheduleLocked(after time.Duration) {
	if c.isClosed() {
		return
	}
	after -= rand.N(after/10 + 1)
	c.memberships.timer = time.AfterFunc(after, c.renew)
}

// renew adds the channel to all its groups again. It runs in the timer's
// goroutine.
func (c *Consumer) renew() {
	next := c.renewEvery
	for _, group := range c.memberships.joined() {
		err := c.renewGroup(group)
		if c.isClosed() || alreadyGone(err) {
			return // receivers are told
		}
		if err != nil {
			next = c.renewEvery / renewTries
			c.dispatcher.retry("renew membership", group, err)
		}
	}

	m := &c.memberships
	m.mu.Lock()
	defer m.mu.Unlock()
	m.timer = nil
	if m.anyLocked() {
		c.scheduleLocked(next)
	}
}

func (c *Consumer) renewGroup(group string) error {
	b := c.bounds.begin(context.Background())
	defer c.bounds.done(b)
	if err := c.memberships.lock(b.ctx); err != nil {
		return err
	}
	defer c.memberships.unlock()
	if !c.memberships.has(group) { // left since
		return nil
	}
	return c.layer.GroupAdd(b.ctx, group, c.channel)
}

func (m *memberships) lock(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case m.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (m *memberships) unlock() { <-m.turn }

// expect notes that the channel may soon be in the group, and reports whether
// it was noted already.
func (m *memberships) expect(group string) (known bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.groups == nil {
		m.groups = make(map[string]bool)
	}
	_, known = m.groups[group]
	if !known {
		m.groups[group] = false
	}
	return known
}

// doubt notes that the channel may no longer be in the group.
func (m *memberships) doubt(group string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.groups[group] {
		m.groups[group] = false
	}
	m.restLocked()
}

func (m *memberships) forget(group string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.groups, group)
}

func (m *memberships) has(group string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.groups[group]
}

func (m *memberships) joined() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	names := make([]string, 0, len(m.groups))
	for name, joined := range m.groups {
		if joined {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// clear empties m and returns what was in it.
func (m *memberships) clear() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	names := slices.Sorted(maps.Keys(m.groups))
	m.groups = nil
	return names
}

func (m *memberships) stopTimer() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.timer != nil && m.timer.Stop() {
		m.timer = nil
	}
}

// restLocked stops the timer if there is nothing to renew. A renewal under way
// sees that by itself.
func (m *memberships) restLocked() {
	if m.timer != nil && !m.anyLocked() && m.timer.Stop() {
		m.timer = nil
	}
}

func (m *memberships) anyLocked() bool {
	for _, joined := range m.groups {
		if joined {
			return true
		}
	}
	return false
}
