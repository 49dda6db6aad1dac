-- Writes or removes memberships of normal channels in one group.
--
-- KEYS  1 group (sorted set)
-- ARGV  1 how long a membership lasts, in ms  2 how long the key is kept, in ms
--       then, any number of times: 'join' or 'leave', the member
-- Returns 1. All of it may be repeated.
-- Cost  two commands, and one for each member.
local now = redis.call('TIME')
local ends = now[1] * 1000 + math.floor(now[2] / 1000) + ARGV[1]
for i = 3, #ARGV, 2 do
  if ARGV[i] == 'join' then
    redis.call('ZADD', KEYS[1], string.format('%.0f', ends), ARGV[i + 1])
  else
    redis.call('ZREM', KEYS[1], ARGV[i + 1])
  end
end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1
