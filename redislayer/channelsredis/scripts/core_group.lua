-- Adds channels to a group, and removes channels from it.
--
-- KEYS  1 group (sorted set of channels; score: when added, in seconds)
-- ARGV  1 how long the group is kept after it was last added to, in ms
--       2 group expiry in microseconds
--       then, any number of times: 'add' or 'discard', channel
-- Returns 1.
-- Cost  a command each, and three if channels are added.
--
-- Where channels join, those that have expired go: after they were added, since a
-- script that begins with a removal is not refused when memory is full.
local t = redis.call('TIME')
local now = string.format('%d.%06d', t[1], t[2])
local added = false
for i = 3, #ARGV, 2 do
  if ARGV[i] == 'add' then
    redis.call('ZADD', KEYS[1], now, ARGV[i + 1])
    added = true
  else
    redis.call('ZREM', KEYS[1], ARGV[i + 1])
  end
end
if added then
  local cutoff = string.format('%.6f', (t[1] * 1000000 + t[2] - ARGV[2]) / 1000000)
  redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', cutoff)
  redis.call('PEXPIRE', KEYS[1], ARGV[1])
end
return 1
