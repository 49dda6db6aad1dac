-- Adds one entry to the inbox of every process in a group but the sender's.
-- A process whose inbox is gone, or was made anew since it joined, leaves the
-- group.
--
-- KEYS  1 group (sorted set of p<process>/<incarnation>, score 0, and
--       n<normal channel>, score: when the membership ends, in ms)
-- ARGV  1 entry  2 messages in it  3 most messages  4 most bytes
--       5 the sender's process  6 key of an inbox, up to the process
--       7 key of a lease, up to the process
-- Returns {inboxes without room, normal channel, normal channel, ...}.
-- Cost  one command, and three for each process.
local now = redis.call('TIME')
now = now[1] * 1000 + math.floor(now[2] / 1000)
local reply = {0}
local members = redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES')
for i = 1, #members, 2 do
  local member = members[i]
  local kind, name = string.sub(member, 1, 1), string.sub(member, 2)
  if kind == 'n' then
    if tonumber(members[i + 1]) > now then
      reply[#reply + 1] = name
    else
      redis.call('ZREM', KEYS[1], member)
    end
  else
    local slash = string.find(name, '/', 1, true)
    local process, incarnation = string.sub(name, 1, slash - 1), string.sub(name, slash + 1)
    if process ~= ARGV[5] then
      local lease = redis.call('HMGET', ARGV[7] .. process, 'i', 'n', 'b', 'rn', 'rb')
      if lease[1] ~= incarnation then
        redis.call('ZREM', KEYS[1], member)
      else
        local n, b = lease[2] + ARGV[2], lease[3] + #ARGV[1]
        if n - lease[4] > tonumber(ARGV[3]) or (b - lease[5] > tonumber(ARGV[4]) and lease[3] ~= lease[5]) then
          reply[1] = reply[1] + 1
        elseif redis.call('XADD', ARGV[6] .. process, 'NOMKSTREAM', '*', 'e', ARGV[1], 'n', ARGV[2]) then
          redis.call('HSET', ARGV[7] .. process, 'n', string.format('%.0f', n), 'b', string.format('%.0f', b))
        else
          redis.call('ZREM', KEYS[1], member)
        end
      end
    end
  end
end
return reply
