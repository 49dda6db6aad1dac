-- Drops what has expired in a queue.
--
-- KEYS  1 queue (sorted set; score: when sent, in seconds)
-- ARGV  1 expiry in microseconds
-- Returns how many messages.
-- Cost  two commands.
local t = redis.call('TIME')
return redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.6f', (t[1] * 1000000 + t[2] - ARGV[1]) / 1000000))
