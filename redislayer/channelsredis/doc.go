// Package channelsredis has channel layers that share a bus with Django: with
// Python's channels_redis, on the same Redis, in its own format. Go services
// and Django sites send to each other's channels and groups through it.
//
// [Core] speaks what channels_redis.core.RedisChannelLayer speaks, [PubSub]
// what channels_redis.pubsub.RedisPubSubChannelLayer speaks.
package channelsredis
