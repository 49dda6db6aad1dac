package channelsredis

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/channellayer/channellayer/groups"
	"github.com/channellayer/channellayer/layer"
	"github.com/channellayer/channellayer/layer/process"
	"github.com/channellayer/channellayer/redislayer/channelsredis/internal/redisconn"
)

// Core is a [layer.Layer] on the bus of channels_redis.core.RedisChannelLayer.
// Make one with [NewCore] or [OpenCore]. Besides the methods of the contract it
// has all of the optional ones.
type Core struct {
	bus
	base   time.Time
	random func([]byte) // fills it; what stands in front of messages

	leaving sync.RWMutex   // held for reading while memberships begin and end; not to be waited for
	added   *groups.Groups // memberships of this process's channels
	others  others         // memberships of other channels that began here
	normals *normals
	plans   plans
	lists   lists
	hosts   []*host
	sentTo  turns
	own     ownQueues

	running sync.WaitGroup
}

// host is what a Core has to do with one server.
type host struct {
	*writer
	own, normal *popper
}

func (h *host) poppers() []*popper { return []*popper{h.own, h.normal} }

var (
	_ layer.Layer         = (*Core)(nil)
	_ layer.Flusher       = (*Core)(nil)
	_ layer.Releaser      = (*Core)(nil)
	_ layer.Pinger        = (*Core)(nil)
	_ layer.BatchReceiver = (*Core)(nil)
	_ layer.Statser       = (*Core)(nil)
)

// NewCore makes a layer on the servers that Options.Hosts are configured for.
// It returns without waiting for them. Until they are reached, calls that need
// them fail with [layer.ErrUnavailable]; Ping tells.
//
// Errors: [layer.ErrInvalidOption], which names the option.
func NewCore(options Options) (*Core, error) {
	o, err := options.withDefaults()
	if err != nil {
		return nil, err
	}
	c := &Core{base: time.Now(), random: fillRandom, own: ownQueues{used: map[string]int64{}}, plans: plans{m: map[string]*plan{}}, lists: lists{m: map[string]address{}}, sentTo: turns{m: map[string]int{}}}
	for _, g := range []**groups.Groups{&c.added, &c.others.groups} {
		if *g, err = groups.New(groups.Options{Expiry: o.GroupExpiry}); err != nil {
			return nil, err
		}
	}
	observer := o.Observer
	observer.Abandoned = c.abandoned
	if err := c.setUp(o, process.Options{Observer: observer}); err != nil {
		return nil, err
	}
	c.normals = newNormals(c)

	var ctx context.Context
	ctx, c.cancel = context.WithCancel(context.Background())
	for i, client := range o.Hosts {
		w := newWriter(c, i, client.(*redis.Client).Options())
		c.hosts = append(c.hosts, &host{w, newPopper(c, w, c.ownKeys, c.takeOwn), newPopper(c, w, c.normals.want, c.normals.take)})
		c.hosts[i].own.gathers = true
	}
	for _, h := range c.hosts {
		c.running.Go(func() { h.writer.run(ctx) })
		c.running.Go(func() { h.own.run(ctx) })
		c.running.Go(func() { h.normal.run(ctx) })
	}
	c.running.Go(func() { c.sweep(ctx) })
	return c, nil
}

// OpenCore makes a layer on the servers at the URLs (redis://, rediss:// or
// unix://; see [redis.ParseURL]), which stand in the order of channels_redis's
// hosts, and waits until it is connected to all, or ctx ends. The layer owns
// its clients and closes them.
//
// Errors: that of a URL or an option that is wrong; [SetupError] for a server
// that is too old or refuses; otherwise ctx's error and why a server could not
// be reached.
func OpenCore(ctx context.Context, urls []string, options Options) (*Core, error) {
	return open(ctx, urls, options, NewCore)
}

func (c *Core) waitConnected(ctx context.Context) error {
	for i, h := range c.hosts {
		err := c.waitHost(ctx, i, func() (bool, error) {
			return h.connected.Load() && h.own.connected.Load() && h.normal.connected.Load(), h.cause()
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// NewChannel implements [layer.Layer].
func (c *Core) NewChannel(ctx context.Context, prefix string) (string, error) {
	if err := c.process.Check(ctx, layer.ValidatePrefix(prefix)); err != nil {
		return "", err
	}
	if prefix == "" {
		prefix = layer.DefaultPrefix
	}
	queue := prefix + "." + c.process.Name() + "!"
	channel := queue + randomHex()
	if err := c.process.Mailboxes().Open(channel); err != nil {
		return "", err
	}
	c.openOwn(queue)
	return channel, nil
}

// Receive implements [layer.Layer].
func (c *Core) Receive(ctx context.Context, channel string) (layer.Message, error) {
	if !layer.IsProcessSpecific(channel) {
		return c.receiveNormal(ctx, channel)
	}
	return c.process.Receive(ctx, channel)
}

// ReceiveBatch implements [layer.BatchReceiver]. From a normal channel it
// takes one message: other processes' receivers get the rest.
func (c *Core) ReceiveBatch(ctx context.Context, channel string, buf []layer.Message) (int, error) {
	if layer.IsProcessSpecific(channel) {
		return c.process.ReceiveBatch(ctx, channel, buf)
	}
	if len(buf) == 0 {
		return 0, ctx.Err()
	}
	msg, err := c.receiveNormal(ctx, channel)
	if err != nil {
		return 0, err
	}
	buf[0] = msg
	return 1, nil
}

func (c *Core) receiveNormal(ctx context.Context, channel string) (layer.Message, error) {
	if err := c.process.Check(ctx, layer.ValidateChannel(channel)); err != nil {
		return layer.Message{}, err
	}
	return c.normals.receive(ctx, strings.Clone(channel))
}

// Release implements [layer.Releaser]. It ends the memberships that began
// through this layer. What Redis knows of others is not found out: messages
// for them still come to this process, which drops them.
func (c *Core) Release(ctx context.Context, channel string) error {
	err := c.process.Release(ctx, channel)
	if err == nil {
		c.leaveAll(channel)
	}
	return err
}

// Ping implements [layer.Pinger]: it makes a round trip to each host.
func (c *Core) Ping(ctx context.Context) error {
	if err := c.process.Check(ctx); err != nil {
		return err
	}
	return within(ctx, c.options.Timeout, c.pingHosts)
}

func (c *Core) pingHosts(ctx context.Context) error {
	for _, h := range c.hosts {
		if err := h.do(ctx, &op{what: opTime}); err != nil {
			return err
		}
		for _, p := range h.poppers() {
			if err := p.failure(); err != nil {
				return redisconn.Unavailable(err)
			}
		}
	}
	return nil
}

// Close implements [layer.Layer]. It ends the memberships of this process's
// channels that began through this layer, and removes the queues of this process,
// if the servers can be reached within the timeout; otherwise Redis forgets the
// queues after Expiry.
func (c *Core) Close() error {
	if !c.process.BeginClose() {
		return nil
	}
	c.normals.close()
	for _, h := range c.hosts {
		h.own.close()
		h.normal.close()
	}
	deadline := time.Now().Add(c.options.Timeout)
	end := time.NewTimer(c.options.Timeout)
	defer end.Stop()
	for _, h := range c.hosts {
		for _, p := range h.poppers() {
			select {
			case <-p.done:
			case <-end.C:
				end.Reset(0)
			}
		}
	}
	c.leave()
	c.process.Mailboxes().Close()
	var closing sync.WaitGroup
	for _, h := range c.hosts {
		closing.Go(func() { h.writer.close(time.Until(deadline)) })
	}
	closing.Wait()
	c.cancel()
	c.running.Wait()
	c.process.Close()
	return closeHosts(c.owned)
}

// leave removes what this process has at Redis. It waits for memberships that
// just begin or end, no longer than their calls may take; others do not any more.
func (c *Core) leave() {
	c.leaving.Lock()
	defer c.leaving.Unlock()
	own, _ := c.ownKeys()
	for group := range c.added.All() {
		for channel := range c.added.Members(group) {
			c.hostOf(group).enqueue(&op{what: opDiscard, key: c.groupKey(group), name: channel})
		}
	}
	for _, h := range c.hosts {
		for keys := range slices.Chunk(own, maxEndKeys) {
			h.enqueue(&op{what: opEnd, keys: keys, then: func(o *op) {
				if o.err == nil && o.count > 0 {
					c.process.Drop(layer.DropClosed, "", int(o.count))
				}
			}})
		}
	}
}

// abandoned is told by the mailboxes that nobody reads a channel any more.
func (c *Core) abandoned(channel string) {
	c.leaveAll(channel)
	if c.options.Observer.Abandoned != nil {
		c.options.Observer.Abandoned(channel)
	}
}

// now is the layer's clock, in nanoseconds; it never goes back.
func (c *Core) now() int64 { return int64(time.Since(c.base)) }

// hostOf is the host that a name belongs to: that of a group, or of a channel's
// name up to and including its '!'.
func (c *Core) hostOf(name string) *host { return c.hosts[hostOf(name, len(c.hosts))] }
