-- Removes from an inbox what its reader has handed over, and makes room.
--
-- KEYS  1 inbox (stream)  2 lease (hash)
-- ARGV  1 incarnation  2 first id to keep  3 messages read  4 bytes read
-- Returns the number of entries removed.
-- Cost  four commands, and the entries removed.
if redis.call('HGET', KEYS[2], 'i') ~= ARGV[1] then return 0 end
local removed = redis.call('XTRIM', KEYS[1], 'MINID', ARGV[2]) -- first: it is allowed when memory is full
redis.call('HSET', KEYS[2], 'rn', ARGV[3], 'rb', ARGV[4])
-- An empty inbox has nothing unread, whatever was counted.
if redis.call('XLEN', KEYS[1]) == 0 then redis.call('HSET', KEYS[2], 'n', ARGV[3], 'b', ARGV[4]) end
return removed
