-- Drops what has expired in a queue, or a group.
--
-- KEYS  1 sorted set (score: when sent, or added, in seconds)
-- ARGV  1 expiry in microseconds
-- Returns {how many had expired, how many are left}.
-- Cost  three commands.
local t = redis.call('TIME')
local cutoff = string.format('%.6f', (t[1] * 1000000 + t[2] - ARGV[1]) / 1000000)
return {redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', cutoff), redis.call('ZCARD', KEYS[1])}
