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
--         or the name of a normal channel, or an error of a process's keys,
--         which is no concern of others; 0 if there is nothing to tell.
-- Cost  one command, and three for each process.
local messages, capacity, capacityBytes = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local now
local reply, gone = {}, {}
local wrote = false

local function tell(what)
  reply[#reply + 1] = 1
  reply[#reply + 1] = what
end

local function add(call, process)
  return call('XADD', ARGV[6] .. process, 'NOMKSTREAM', '*', 'e', ARGV[1], 'n', ARGV[2])
end

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
      tell(string.sub(member, 2))
    else
      gone[#gone + 1] = member
    end
  else
    local slash = string.find(member, '/', 1, true)
    local process = slash and string.sub(member, 2, slash - 1)
    if process and process ~= ARGV[5] then
      local key = ARGV[7] .. process
      local lease = redis.pcall('HMGET', key, 'i', 'n', 'b', 'rn', 'rb')
      local n, b, rn, rb = tonumber(lease[2]), tonumber(lease[3]), tonumber(lease[4]), tonumber(lease[5])
      if lease.err then
        tell(lease)
      elseif lease[1] and not (n and b and rn and rb) then
        tell(redis.error_reply('ERR a lease without its numbers'))
      elseif lease[1] ~= string.sub(member, slash + 1) then
        gone[#gone + 1] = member
      elseif n + messages - rn > capacity or (b + #ARGV[1] - rb > capacityBytes and b ~= rb) then
        tell(messages)
      else
        local id = add(redis.pcall, process)
        if not id then
          gone[#gone + 1] = member
        elseif id.err then
          local code = string.match(id.err, '^%-?(%u+)')
          -- A server that refuses the first write refuses the whole script.
          if not wrote and code ~= 'WRONGTYPE' and code ~= 'ERR' then add(redis.call, process) end
          tell(id)
        else
          redis.call('HSET', key, 'n', n + messages, 'b', b + #ARGV[1])
          wrote = true
        end
      end
    end
  end
end
for _, member in ipairs(gone) do redis.call('ZREM', KEYS[1], member) end
if #reply == 0 then return 0 end
return reply
