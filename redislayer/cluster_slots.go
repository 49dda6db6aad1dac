package redislayer

import (
	"context"
	"math"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// newSlots makes the client that a layer asks where the slots are. It has the
// settings of the user's client, and not its timeouts: those are longer than
// the layer's, and would bound its calls in their place.
func newSlots(configured *redis.ClusterOptions, timeout time.Duration) *redis.ClusterClient {
	o := *configured
	o.ReadOnly, o.RouteByLatency, o.RouteRandomly = false, false, false
	o.ClusterStateReloadInterval = math.MaxInt64 // when to read it is decided in run
	o.MaxRetries = -1
	o.DialTimeout, o.ReadTimeout, o.WriteTimeout, o.PoolTimeout = timeout, timeout, timeout, timeout
	o.ContextTimeoutEnabled = true
	o.PoolSize, o.MinIdleConns, o.MaxIdleConns, o.MaxActiveConns = 1, 0, 0, 0
	o.PipelineReadBufferSize, o.PipelineWriteBufferSize, o.PipelinePoolSize = 0, 0, 0
	o.AutoPipelineOptions = nil
	o.Protocol = 2
	o.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	o.PushNotificationProcessor = nil
	makeNode := o.NewClient
	o.NewClient = func(o *redis.Options) *redis.Client {
		node := makeNode(o)
		// Of the nodes that are asked one after the other, one that does not
		// answer takes half of the time.
		node.AddHook(askedAlone{node.Options(), timeout / 2})
		return node
	}
	return redis.NewClusterClient(&o)
}

// askedAlone has every command go over a connection of its own: there are few,
// and that of a pool outlives the ctx of who waits for it, logs to stderr when
// it cannot be made, and leaves a goroutine that tries again.
type askedAlone struct {
	options *redis.Options
	timeout time.Duration
}

func (a askedAlone) DialHook(next redis.DialHook) redis.DialHook { return next }

func (a askedAlone) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (a askedAlone) ProcessHook(redis.ProcessHook) redis.ProcessHook {
	server := source{options: func(context.Context) (*redis.Options, error) { return a.options, nil }}
	return func(ctx context.Context, cmd redis.Cmder) error {
		ctx, cancel := context.WithTimeout(ctx, a.timeout)
		defer cancel()
		c, err := server.connect(ctx, a.timeout, a.timeout)
		if err != nil {
			cmd.SetErr(err)
			return err
		}
		defer c.Close()
		return c.Process(ctx, cmd)
	}
}
