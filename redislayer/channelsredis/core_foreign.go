package channelsredis

import (
	"context"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/channellayer/channellayer/redislayer/channelsredis/internal/redisconn"
	"github.com/channellayer/channellayer/redislayer/internal/resp"
)

// foreignAgain is how often a key that held something else is looked at again.
const foreignAgain = time.Second

// usable leaves out the queues whose keys hold something else: one of them would
// keep the server from taking anything from the others. They are looked at again
// from time to time.
func (p *popper) usable(ctx context.Context, conn *redisconn.Conn, wanted []string) ([]string, error) {
	if len(p.foreign) == 0 {
		return wanted, nil
	}
	if time.Since(p.lookedAt) >= foreignAgain {
		if err := p.look(ctx, conn, wanted); err != nil {
			return nil, err
		}
	}
	return slices.DeleteFunc(slices.Clone(wanted), func(key string) bool { return p.foreign[key] }), nil
}

// look finds the queues whose keys hold something else. Ping tells of them.
func (p *popper) look(ctx context.Context, conn *redisconn.Conn, keys []string) error {
	types := make([]*redis.StatusCmd, len(keys))
	if _, err := conn.Pipelined(ctx, func(pipe redis.Pipeliner) error {
		for i, key := range keys {
			types[i] = pipe.Type(ctx, key)
		}
		return nil
	}); err != nil {
		return redisconn.Explain(err)
	}
	known := p.foreign
	p.foreign, p.lookedAt = map[string]bool{}, time.Now()
	for i, key := range keys {
		if is := types[i].Val(); is != "zset" && is != "none" {
			p.foreign[key] = true
			err := keyError(key, errWrongType)
			p.setDown(redisconn.Explain(err))
			if !known[key] {
				p.log.Warn("nothing can be taken from a queue", "error", err)
			}
		}
	}
	return nil
}

// errWrongType is what the server says of a key that holds something else.
const errWrongType = resp.Error("WRONGTYPE Operation against a key holding the wrong kind of value")
