-- Reads the members of a group, and forgets those that have expired.
--
-- KEYS  1 group (sorted set of channels; score: when added, in seconds)
-- ARGV  1 group expiry in microseconds
-- Returns {time in microseconds, {member, ...}}.
-- Cost  two commands, three if some have expired.
local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
local cutoff = string.format('%.6f', (now - ARGV[1]) / 1000000)
if redis.call('ZCOUNT', KEYS[1], '-inf', cutoff) > 0 then
  redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', cutoff)
end
return {string.format('%.0f', now), redis.call('ZRANGE', KEYS[1], 0, -1)}
