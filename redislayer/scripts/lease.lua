-- Renews the lease of an inbox, or makes the inbox, empty, above the position
-- that its reader has reached.
--
-- KEYS  1 inbox (stream)  2 lease (hash)
-- ARGV  1 incarnation held, or ''  2 incarnation to make where that is gone
--       3 lease in ms  4 position, ms  5 position, seq  6 messages read
--       7 bytes read
-- Returns {1 if made, seconds, microseconds, last id of the stream}.
-- Cost  six commands.
local now = redis.call('TIME')
local held = redis.call('HGET', KEYS[2], 'i')
-- First a write that Redis allows when its memory is full: the rest of the
-- script then may write too, so a process does not die of a full Redis.
redis.call('PEXPIRE', KEYS[2], ARGV[3])
local made = 0
local last
if ARGV[1] ~= '' and held == ARGV[1] and redis.call('EXISTS', KEYS[1]) == 1 then
  redis.call('HSET', KEYS[2], 'rn', ARGV[6], 'rb', ARGV[7])
  last = ''
else
  made = 1
  -- An id above the position, and above whatever may be left under the key.
  redis.call('DEL', KEYS[1], KEYS[2])
  last = ARGV[4] .. '-' .. string.format('%.0f', ARGV[5] + 1)
  redis.call('XADD', KEYS[1], last, 'e', '')
  redis.call('XDEL', KEYS[1], last)
  redis.call('HSET', KEYS[2], 'i', ARGV[2], 'n', 0, 'b', 0, 'rn', 0, 'rb', 0)
end
redis.call('PEXPIRE', KEYS[2], ARGV[3])
redis.call('PEXPIRE', KEYS[1], ARGV[3] * 2)
return {made, now[1], now[2], last}
