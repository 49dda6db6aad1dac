-- Adds messages to the inboxes of all processes in their groups but the
-- sender's: what is for one process in as few entries as possible. A process
-- whose inbox is gone, or was made anew since it joined, leaves the group.
--
-- KEYS  groups (each a sorted set of p<process>/<incarnation>, score 0, and
--       n<normal channel>, score: when the membership ends, in ms)
-- ARGV  1 an entry's header  2 most messages in an entry  3 most bytes of them
--       4 most messages in an inbox  5 most bytes in an inbox
--       6 the sender's process  7 key of an inbox, up to the process
--       8 key of a lease, up to the process
--       then for each group: number of messages, their frames
-- Returns {group, what, group, what, ...}: for the group at that place in KEYS
--         how many messages an inbox had no room for, or the name of a normal
--         channel in it, or an error of its key or of a process's in it, which
--         is no concern of other groups; 0 if there is nothing to tell.
-- Cost  one command a group, three a process.
local head, most, mostBytes = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local capacity, capacityBytes = tonumber(ARGV[4]), tonumber(ARGV[5])
local now
local reply, gone = {}, {}
local inboxes, byProcess = {}, {}

local function tell(g, what)
  reply[#reply + 1] = g
  reply[#reply + 1] = what
end

local function add(call, inbox, entry, messages)
  return call('XADD', ARGV[7] .. inbox.process, 'NOMKSTREAM', '*', 'e', entry, 'n', messages)
end

-- Reading comes first, then entries, and memberships are removed last: Redis
-- refuses a script for want of memory only if its first write needs some.
for g, key in ipairs(KEYS) do
  local members = redis.pcall('ZRANGE', key, 0, -1, 'WITHSCORES')
  if members.err then tell(g, members) end
  for i = 1, #members, 2 do
    local member = members[i]
    if string.sub(member, 1, 1) == 'n' then
      if not now then
        now = redis.call('TIME')
        now = now[1] * 1000 + math.floor(now[2] / 1000)
      end
      if tonumber(members[i + 1]) > now then
        tell(g, string.sub(member, 2))
      else
        gone[#gone + 1] = {key, member}
      end
    else
      local slash = string.find(member, '/', 1, true)
      local process = slash and string.sub(member, 2, slash - 1)
      if process and process ~= ARGV[6] then
        local inbox = byProcess[process]
        if not inbox then
          local lease = redis.pcall('HMGET', ARGV[8] .. process, 'i', 'n', 'b', 'rn', 'rb')
          inbox = {process = process, incarnation = lease[1], n = tonumber(lease[2]), b = tonumber(lease[3]),
            rn = tonumber(lease[4]), rb = tonumber(lease[5])}
          if lease.err then
            inbox.bad = lease
          elseif lease[1] and not (inbox.n and inbox.b and inbox.rn and inbox.rb) then
            inbox.bad = redis.error_reply('ERR a lease without its numbers')
          end
          byProcess[process] = inbox
          inboxes[#inboxes + 1] = inbox
        end
        if inbox.bad then
          tell(g, inbox.bad)
        elseif inbox.incarnation == string.sub(member, slash + 1) then
          inbox[#inbox + 1] = g
          inbox[#inbox + 1] = member
        else
          gone[#gone + 1] = {key, member}
        end
      end
    end
  end
end

local wrote = false
for _, inbox in ipairs(inboxes) do
  local from, n, b = 1, inbox.n, inbox.b
  local added = false
  while from < #inbox do
    local g = inbox[from]
    local messages, bytes, parts = tonumber(ARGV[7 + 2 * g]), #ARGV[8 + 2 * g], {head, ARGV[8 + 2 * g]}
    local to = from + 2
    while to < #inbox do
      g = inbox[to]
      local m, frames = tonumber(ARGV[7 + 2 * g]), ARGV[8 + 2 * g]
      if messages + m > most or bytes + #frames > mostBytes then break end
      messages, bytes, parts[#parts + 1] = messages + m, bytes + #frames, frames
      to = to + 2
    end
    local entry = table.concat(parts)
    if n + messages - inbox.rn > capacity or (b + #entry - inbox.rb > capacityBytes and b ~= inbox.rb) then
      for i = from, to - 1, 2 do tell(inbox[i], tonumber(ARGV[7 + 2 * inbox[i]])) end
    else
      local id = add(redis.pcall, inbox, entry, messages)
      if not id then
        for i = from, to - 1, 2 do gone[#gone + 1] = {KEYS[inbox[i]], inbox[i + 1]} end
      elseif id.err then
        local code = string.match(id.err, '^%-?(%u+)')
        -- A server that refuses the first write refuses the whole script.
        if not wrote and code ~= 'WRONGTYPE' and code ~= 'ERR' then add(redis.call, inbox, entry, messages) end
        for i = from, to - 1, 2 do tell(inbox[i], id) end
      else
        n, b, added, wrote = n + messages, b + #entry, true, true
      end
    end
    from = to
  end
  if added then redis.call('HSET', ARGV[8] .. inbox.process, 'n', n, 'b', b) end
end
for _, member in ipairs(gone) do redis.call('ZREM', member[1], member[2]) end
if #reply == 0 then return 0 end
return reply
