-- Adds channels to a group, and removes channels from it.
--
-- KEYS  1 group (sorted set of channels; score: when added, in seconds)
-- ARGV  1 how long the group is kept after it was last added to, in ms
--       then, any number of times: 'add' or 'discard', channel
-- Returns 1.
-- Cost  a command each, and one.
local t = redis.call('TIME')
local now = string.format('%d.%06d', t[1], t[2])
local added = false
for i = 2, #ARGV, 2 do
  if ARGV[i] == 'add' then
    redis.call('ZADD', KEYS[1], now, ARGV[i + 1])
    added = true
  else
    redis.call('ZREM', KEYS[1], ARGV[i + 1])
  end
end
if added then redis.call('PEXPIRE', KEYS[1], ARGV[1]) end
return 1
