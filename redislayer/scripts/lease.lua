-- Renews the lease of an inbox, or makes the inbox, empty, above the position
-- that its reader has reached.
--
-- KEYS  1 inbox (stream)  2 lease (hash)
-- ARGV  1 incarnation held, or ''  2 incarnation to make where that is gone,
--         above all that the process tried before
--       3 lease in ms  4 position, ms  5 position, seq  6 messages read
--       7 bytes read
-- Returns {1 if made, seconds, microseconds, the last id of the stream if made}.
-- Cost  seven commands.
local now = redis.call('TIME')
local held = redis.call('HGET', KEYS[2], 'i')
-- First a write that Redis allows when its memory is full: the rest of the
-- script then may write too, so a process does not die of a full Redis.
redis.call('PEXPIRE', KEYS[2], ARGV[3])
local made = 0
local last = ''
if ARGV[1] ~= '' and held == ARGV[1] and redis.call('EXISTS', KEYS[1]) == 1 then
  redis.call('HSET', KEYS[2], 'rn', ARGV[6], 'rb', ARGV[7])
  -- An empty inbox has nothing unread, whatever was counted.
  if redis.call('XLEN', KEYS[1]) == 0 then redis.call('HSET', KEYS[2], 'n', ARGV[6], 'b', ARGV[7]) end
elseif not held or tonumber(held) < tonumber(ARGV[2]) then
  made = 1
  -- An id above the position, and above whatever is left under the key, which
  -- the reader may have read since it told its position.
  local ms, seq = tonumber(ARGV[4]), tonumber(ARGV[5])
  if redis.call('EXISTS', KEYS[1]) == 1 then
    local info = redis.call('XINFO', 'STREAM', KEYS[1])
    for i = 1, #info, 2 do
      if info[i] == 'last-generated-id' then
        local m, s = string.match(info[i + 1], '^(%d+)-(%d+)$')
        m, s = tonumber(m), tonumber(s)
        if m > ms or (m == ms and s > seq) then ms, seq = m, s end
      end
    end
  end
  redis.call('DEL', KEYS[1], KEYS[2])
  last = string.format('%.0f-%.0f', ms, seq + 1)
  redis.call('XADD', KEYS[1], last, 'e', '')
  redis.call('XDEL', KEYS[1], last)
  redis.call('HSET', KEYS[2], 'i', ARGV[2], 'n', 0, 'b', 0, 'rn', 0, 'rb', 0)
else
  return {0, now[1], now[2], last} -- run late: the process has made another since
end
redis.call('PEXPIRE', KEYS[2], ARGV[3])
redis.call('PEXPIRE', KEYS[1], ARGV[3] * 2)
return {made, now[1], now[2], last}
