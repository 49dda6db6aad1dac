package channelsredis

import (
	"context"
	"errors"

	"github.com/channellayer/channellayer/layer"
)

// Core is a [layer.Layer] on the bus of channels_redis.core.RedisChannelLayer.
// Make one with [NewCore] or [OpenCore]. Besides the methods of the contract it
// has all of the optional ones.
type Core struct{ options Options }

// NewCore makes a layer on the servers that Options.Hosts are configured for.
func NewCore(options Options) (*Core, error) {
	o, err := options.withDefaults()
	if err != nil {
		return nil, err
	}
	return &Core{o}, errors.ErrUnsupported
}

// OpenCore makes a layer on the servers at the URLs (redis://, rediss:// or
// unix://; see [redis.ParseURL]), in the order of Python's hosts.
func OpenCore(ctx context.Context, urls []string, options Options) (*Core, error) {
	return nil, errors.ErrUnsupported
}

var _ = layer.DefaultPrefix
