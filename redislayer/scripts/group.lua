-- Adds one entry to the inbox of every process in a group but the sender's.
-- A process whose inbox is gone, or was made anew since it joined, leaves the
-- group. It does for one group what groups.lua does for many, at half the cost.
--
-- KEYS  1 group (sorted set of p<process>/<incarnation>, score 0, and
--       n<normal channel>, score: when the membership ends, in ms)
-- ARGV  1 entry  2 messages in it  3 most messages  4 most bytes
--       5 the sender's process  6 key of an inbox, up to the process
--       7 key of a lease, up to the process
-- Returns {1, what, 1, what, ...}: how many messages an inbox had no room for,
--         or the name of a normal channel; 0 if there is nothing to tell.
-- Cost  one command, and three for each process.
local now
local reply, gone = {}, {}

-- Entries come first and memberships are removed last: Redis refuses a script
-- for want of memory only if its first write needs some.
local members = redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES')
for i = 1, #members, 2 do
  local member = members[i]
  if string.byte(member) == 110 then -- n
    if not now then
      now = redis.call('TIME')
      now = now[1] * 1000 + math.floor(now[2] / 1000)
    end
    if tonumber(members[i + 1]) > now then
      reply[#reply + 1] = 1
      reply[#reply + 1] = string.sub(member, 2)
    else
      gone[#gone + 1] = member
    end
  else
    local slash = string.find(member, '/', 1, true)
    local process = slash and string.sub(member, 2, slash - 1)
    if process and process ~= ARGV[5] then
      local key = ARGV[7] .. process
      local lease = redis.call('HMGET', key, 'i', 'n', 'b', 'rn', 'rb')
      if lease[1] ~= string.sub(member, slash + 1) then
        gone[#gone + 1] = member
      else
        local n, b = lease[2] + ARGV[2], lease[3] + #ARGV[1]
        if n - lease[4] > tonumber(ARGV[3]) or (b - lease[5] > tonumber(ARGV[4]) and lease[3] ~= lease[5]) then
          reply[#reply + 1] = 1
          reply[#reply + 1] = tonumber(ARGV[2])
        elseif redis.call('XADD', ARGV[6] .. process, 'NOMKSTREAM', '*', 'e', ARGV[1], 'n', ARGV[2]) then
          redis.call('HSET', key, 'n', n, 'b', b)
        else
          gone[#gone + 1] = member
        end
      end
    end
  end
end
for _, member in ipairs(gone) do redis.call('ZREM', KEYS[1], member) end
if #reply == 0 then return 0 end
return reply
