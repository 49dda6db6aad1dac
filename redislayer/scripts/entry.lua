-- Writes or removes the entry of one process in a group of a Cluster.
--
-- KEYS  1 group (sorted set)
-- ARGV  1 'join' or 'leave'  2 the member  3 how long the key is kept, in ms
-- Returns 1 if that changed anything, otherwise 0. It may be repeated.
-- Cost  two commands.
if ARGV[1] == 'leave' then return redis.call('ZREM', KEYS[1], ARGV[2]) end
local added = redis.call('ZADD', KEYS[1], 0, ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return added
